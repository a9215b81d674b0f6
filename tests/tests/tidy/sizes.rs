//! Files are read in one go, functions on one screen: a ratchet.
//!
//! `tests/tidy.toml` lists what is larger today, with its size. An entry may only shrink, and goes when its file fits.

use std::collections::BTreeMap;
use std::fs;

use crate::{code, none, root, sources};

const FILE_LINES_MOST: usize = 400;
const FUNCTION_LINES_MOST: usize = 70;

fn allowed(kind: &str) -> BTreeMap<String, usize> {
    let table: toml::Table = toml::from_str(&fs::read_to_string(root().join("tests/tidy.toml")).unwrap()).unwrap();
    let entries = table.get(kind).and_then(toml::Value::as_table).cloned().unwrap_or_default();
    entries.into_iter().map(|(name, lines)| (name, lines.as_integer().unwrap() as usize)).collect()
}

/// What grew, and what the list says too much of.
fn judge(kind: &str, most: usize, sizes: &BTreeMap<String, usize>, allowed: &BTreeMap<String, usize>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, lines) in sizes {
        match allowed.get(name) {
            None if *lines > most => findings.push(format!("{name}: {lines} lines, {most} at most for a {kind}")),
            Some(listed) if lines > listed => findings.push(format!("{name}: grew to {lines} lines; it had {listed}")),
            Some(_) if *lines <= most => findings.push(format!("{name}: fits now; take it from tests/tidy.toml")),
            Some(listed) if lines < listed => findings.push(format!("{name}: shrank to {lines} lines; write that into tests/tidy.toml")),
            _ => (),
        }
    }
    let gone = allowed.keys().filter(|name| !sizes.contains_key(*name));
    findings.extend(gone.map(|name| format!("{name}: is gone; take it from tests/tidy.toml")));
    findings
}

/// Each function with a body: name and lines from `fn` to its closing brace.
fn functions(text: &str) -> Vec<(String, usize)> {
    let code = code(text);
    let mut list = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let (mut braces, mut inner) = (0, 0);
        for (offset, c) in code[at..].char_indices() {
            match c {
                '(' | '[' => inner += 1,
                ')' | ']' => inner -= 1,
                ';' if braces == 0 && inner == 0 => break,
                '{' => braces += 1,
                '}' => braces -= 1,
                _ => (),
            }
            if c == '}' && braces == 0 && !name.is_empty() {
                list.push((name, code[at..at + offset].matches('\n').count() + 1));
                break;
            }
        }
    }
    list
}

#[test]
fn files_are_read_in_one_go() {
    let sizes: BTreeMap<String, usize> = sources(&[".rs"]).into_iter().map(|file| (file.name, file.text.lines().count())).collect();
    none("sizes of files", judge("file", FILE_LINES_MOST, &sizes, &allowed("file")));
}

#[test]
fn functions_stand_on_one_screen() {
    let mut sizes = BTreeMap::new();
    for file in sources(&[".rs"]) {
        for (function, lines) in functions(&file.text) {
            let most = sizes.entry(format!("{}::{function}", file.name)).or_insert(0);
            *most = lines.max(*most);
        }
    }
    none("sizes of functions", judge("function", FUNCTION_LINES_MOST, &sizes, &allowed("function")));
}

#[test]
fn the_ratchet_turns_one_way() {
    let sizes = BTreeMap::from([
        ("grown".into(), 90),
        ("shrunk".into(), 80),
        ("fits".into(), 10),
        ("same".into(), 85),
        ("new".into(), 71),
        ("small".into(), 70),
    ]);
    let list = BTreeMap::from([("grown".into(), 89), ("shrunk".into(), 81), ("fits".into(), 75), ("same".into(), 85), ("gone".into(), 99)]);
    let findings = judge("function", 70, &sizes, &list);
    let named: Vec<&str> = findings.iter().map(|finding| finding.split(':').next().unwrap()).collect();
    assert_eq!(named, ["fits", "grown", "new", "shrunk", "gone"]);
}

#[test]
fn functions_are_measured_to_their_brace() {
    let text = "trait T { fn a(); }\nfn b(x: [u8; 3]) -> u8 {\n    let s = \"}\";\n    if x { 1 } else { 2 }\n}\nfn c() {}\n";
    assert_eq!(functions(text), [("b".to_owned(), 4), ("c".to_owned(), 1)]);
}
