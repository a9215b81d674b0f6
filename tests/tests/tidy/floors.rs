//! Which crate may know which: ARCHITECTURE.md's floors, by the edges in the manifests.

use crate::{manifest, members, none, root};

const FLOORS: [(&str, u8); 13] = [
    ("archive", 1),
    ("console", 1),
    ("election", 1),
    ("recipes", 1),
    ("watch", 1),
    ("link", 2),
    ("lookup", 2),
    ("sources", 2),
    ("standing", 3),
    ("exporter", 4),
    ("importer", 4),
    ("pull-backup", 4),
    ("tests", 5),
];

/// Edges that the floors alone would let pass.
const NEVER: [(&str, &[&str], &str); 5] = [
    ("pull-backup", &["recipes"], "the pull-backup cannot know what it keeps"),
    ("archive", &["tokio", "reqwest", "axum"], "the archive is blocking code on threads"),
    ("election", &["tokio", "rustix", "jiff", "rand"], "the election has no clock, no I/O and no chance of its own"),
    ("standing", &["recipes"], "a pull-backup knows it, and cannot know what it keeps"),
    ("watch", &["tokio", "reqwest", "axum", "rand"], "what is due and what is well is decided without a clock, a network or chance"),
];

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

/// Names in all kinds of dependencies, with the kind.
fn edges(member: &str) -> Vec<(String, toml::Value)> {
    let manifest = manifest(member);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = kinds.iter().filter_map(|kind| manifest.get(*kind)?.as_table());
    tables.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[test]
fn nobody_knows_its_own_floor_or_one_above() {
    let mut findings = Vec::new();
    for member in members() {
        let Some(own) = floor(&member) else {
            findings.push(format!("{member}: stands on no floor; give it one here and in ARCHITECTURE.md"));
            continue;
        };
        for (name, _) in edges(&member) {
            if floor(&name).is_some_and(|other| other >= own) {
                findings.push(format!("{member} (floor {own}) depends on {name}"));
            }
        }
    }
    none("floors", findings);
}

#[test]
fn edges_that_must_not_be() {
    let mut findings = Vec::new();
    for (member, banned, reason) in NEVER {
        if members().iter().any(|known| known == member) {
            let found = edges(member).into_iter().filter(|(name, _)| banned.contains(&name.as_str()));
            findings.extend(found.map(|(name, _)| format!("{member} depends on {name}: {reason}")));
        }
    }
    none("edges", findings);
}

#[test]
fn versions_and_lints_stand_in_the_workspace() {
    let mut findings = Vec::new();
    for member in members() {
        if manifest(&member).get("lints").and_then(|lints| lints.get("workspace")).is_none() {
            findings.push(format!("{member}: has no `lints.workspace = true`"));
        }
        for (name, value) in edges(&member) {
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                findings.push(format!("{member}: {name} is not taken from the workspace"));
            }
        }
    }
    none("manifests", findings);
}

#[test]
fn every_dependency_has_its_reason() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let table = text.split("[workspace.dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let mut reason = false;
    let mut findings = Vec::new();
    for line in table.lines() {
        match line.split_once('=') {
            _ if line.starts_with('#') => reason = true,
            Some((name, value)) if !line.starts_with(' ') && !reason && !value.contains("path =") => findings.push(name.trim().to_owned()),
            None if line.trim().is_empty() => reason = false,
            _ => (),
        }
    }
    none("dependencies without a comment above that says why", findings);
}
