//! Every source file is compiled and every test runs: a file that no `mod` names looks like code and is none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{code, manifest, members, none, root, sources};

/// Is this file a root of its own, by Cargo's rules?
fn is_root(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let crates = matches!(parts[1..], ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] | ["src", "bin", _, "main.rs"]);
    let beside = matches!(parts[1..], ["tests" | "benches" | "examples", _] | ["tests" | "benches" | "examples", _, "main.rs"]);
    crates || beside
}

/// Names behind `mod`, where a semicolon and not a body follows.
fn modules(text: &str) -> Vec<String> {
    let code = code(text);
    let words = code
        .match_indices("mod ")
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    let names = words.filter_map(|(at, _)| code[at + 4..].split_once(';').map(|(name, _)| name.trim().to_owned()));
    names
        .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .collect()
}

fn follow(file: &Path, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    let Ok(text) = std::fs::read_to_string(root().join(file)) else { return };
    if !reached.insert(file.to_owned()) {
        return;
    }
    let parent = file.parent().unwrap();
    let folder = if is_root || file.ends_with("mod.rs") { parent.to_owned() } else { parent.join(file.file_stem().unwrap()) };
    for name in modules(&text) {
        for candidate in [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")] {
            follow(&candidate, false, reached);
        }
    }
}

#[test]
fn no_file_is_forgotten() {
    let members = members();
    let files: Vec<String> = sources(&[".rs"]).into_iter().map(|file| file.name).collect();
    let mut reached = BTreeSet::new();
    for file in files.iter().filter(|name| is_root(name)) {
        follow(Path::new(file), true, &mut reached);
    }
    let own = files.iter().filter(|name| members.iter().any(|member| name.starts_with(&format!("{member}/"))));
    none("files that nothing compiles", own.filter(|name| !reached.contains(Path::new(name))).cloned().collect());
}

#[test]
fn no_test_is_left_out() {
    let mut findings = Vec::new();
    for file in sources(&[".rs"]) {
        findings.extend(
            file.text
                .lines()
                .filter(|line| line.trim_start().starts_with("#[ignore"))
                .map(|line| format!("{}: {}", file.name, line.trim())),
        );
    }
    for member in members() {
        let manifest = manifest(&member);
        if manifest["package"].get("autotests").is_some() || manifest.contains_key("test") {
            findings.push(format!("{member}/Cargo.toml: lists its tests by hand"));
        }
    }
    none("tests left out", findings);
}

#[test]
fn modules_are_found() {
    assert_eq!(modules("pub mod a;\n// mod b;\nmod c { }\nmod d;\nlet mod_e = 1;\n"), ["a", "d"]);
}
