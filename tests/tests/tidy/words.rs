//! Names that say nothing, and words that do not belong into what others read.

use std::collections::BTreeSet;

use crate::{code, members, none, sources};

/// What is left of a design when nobody asked where a thing goes.
const BANNED: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "common", "misc", "utility"];

/// Notes to oneself. In two halves, so that this file passes.
const UNFINISHED: [&str; 5] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("to", "do!"), concat!("unimple", "mented!")];

/// Folders of one machine.
const MACHINES: [&str; 4] = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

const TEXTS: [&str; 9] = [".rs", ".md", ".toml", ".sh", ".yml", ".py", ".snap", "tests/run", ".ci/run"];

/// `HTTPUtil`, `path_util` and `path-util` all have the word `util`.
fn words(name: &str) -> Vec<String> {
    let mut list = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower) {
            list.push(String::new());
        }
        lower = c.is_lowercase();
        if c.is_alphanumeric() {
            list.last_mut().unwrap().extend(c.to_lowercase());
        }
    }
    list
}

fn banned(name: &str) -> bool {
    words(name).iter().any(|word| BANNED.contains(&word.as_str()))
}

#[test]
fn names_say_something() {
    let mut findings: BTreeSet<String> = members().into_iter().filter(|member| banned(member)).collect();
    for file in sources(&[".rs", ".py", ".sh"]) {
        if banned(&file.name) {
            findings.insert(file.name.clone());
        }
        let code = code(&file.text);
        let mut last = "";
        for word in code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()) {
            if ["mod", "struct", "enum", "trait", "type"].contains(&last) && banned(word) {
                findings.insert(format!("{}: {last} {word}", file.name));
            }
            last = word;
        }
    }
    none("names that say nothing", findings.into_iter().collect());
}

#[test]
fn nothing_is_left_for_later_in_a_comment() {
    none("unfinished", lines_with(&UNFINISHED));
}

#[test]
fn no_folder_of_one_machine_is_named() {
    none("paths of one machine", lines_with(&MACHINES));
}

fn lines_with(words: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in sources(&TEXTS) {
        for (number, line) in file.text.lines().enumerate() {
            let alone = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
            if let Some(word) = words.iter().find(|word| line.match_indices(**word).any(|(at, _)| alone(at))) {
                findings.push(format!("{}:{}: {word}", file.name, number + 1));
            }
        }
    }
    findings
}

#[test]
fn words_are_taken_apart() {
    for name in ["path_util", "PathUtil", "util", "src/common/mod.rs", "x-misc"] {
        assert!(banned(name), "{name}");
    }
    for name in ["utilisation", "commonly", "managers_of_none", "Submission"] {
        assert!(!banned(name), "{name}");
    }
}
