//! Licences and origins of all that is linked, as `deny.toml` allows them.
//!
//! `cargo deny` says more (advisories, above all); this much holds without it and without a network.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::{none, root};

fn packages() -> Vec<Value> {
    let arguments = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform=x86_64-unknown-linux-gnu"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    let linked: BTreeSet<&str> = all["resolve"]["nodes"].as_array().unwrap().iter().filter_map(|node| node["id"].as_str()).collect();
    all["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| linked.contains(package["id"].as_str().unwrap()))
        .cloned()
        .collect()
}

fn allowed() -> BTreeSet<String> {
    let deny: toml::Table = toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
    deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// An SPDX expression: OR of ANDs of names, with parentheses; the old `/` is OR.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", " WITH=");
    let tokens: Vec<String> = spaced.split_whitespace().map(|token| token.replace("WITH=", "WITH ")).collect();
    let mut joined: Vec<String> = Vec::new();
    for token in tokens {
        match joined.last_mut() {
            Some(last) if token.starts_with("WITH ") => *last = format!("{last} {token}"),
            _ => joined.push(token),
        }
    }
    let mut at = 0;
    either(&joined, &mut at, allowed) && at == joined.len()
}

fn either(tokens: &[String], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut good = both(tokens, at, allowed);
    while tokens.get(*at).is_some_and(|token| token == "OR") {
        *at += 1;
        good |= both(tokens, at, allowed);
    }
    good
}

fn both(tokens: &[String], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut good = one(tokens, at, allowed);
    while tokens.get(*at).is_some_and(|token| token == "AND") {
        *at += 1;
        good &= one(tokens, at, allowed);
    }
    good
}

fn one(tokens: &[String], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if token != "(" {
        return allowed.contains(token);
    }
    let good = either(tokens, at, allowed);
    let closed = tokens.get(*at).is_some_and(|token| token == ")");
    *at += 1;
    good && closed
}

#[test]
fn licences_are_allowed() {
    let allowed = allowed();
    let mut findings = Vec::new();
    for package in packages() {
        let (name, licence) = (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        if !satisfied(licence, &allowed) {
            findings.push(format!("{name}: {licence}"));
        }
    }
    none("licences that deny.toml does not allow", findings);
}

#[test]
fn everything_comes_from_the_one_registry() {
    let origin = |package: &Value| package["source"].as_str().map(str::to_owned);
    let strange = |source: &str| !source.starts_with("registry+https://github.com/rust-lang/crates.io-index");
    let findings = packages()
        .iter()
        .filter(|package| origin(package).is_some_and(|source| strange(&source)))
        .map(|package| package["name"].to_string())
        .collect();
    none("packages from elsewhere", findings);
}

#[test]
fn expressions() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()]);
    for good in ["MIT", "GPL-3.0 OR MIT", "Apache-2.0/MIT", "ISC AND (Apache-2.0 OR MIT)", "Apache-2.0 WITH LLVM-exception OR Apache-2.0"] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["none", "GPL-3.0", "MIT AND GPL-3.0", "ISC AND (Apache-2.0 OR GPL-3.0)", "Apache-2.0", "(MIT"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
