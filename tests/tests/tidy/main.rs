//! The habits of the house as ordinary tests: floors, sizes, names, words, forgotten files, licences.
//!
//! Everything is read as text, so that a broken build still says what is untidy. What a lint of rustc or clippy can say is not
//! repeated here.

mod floors;
mod licences;
mod reach;
mod sizes;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the repository, by its path from the root.
struct Source {
    name: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files with one of these endings that are not built or fetched.
fn sources(endings: &[&str]) -> Vec<Source> {
    let root = root();
    let foreign = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() > 0
            && entry.file_type().is_dir()
            && (name == "target" || name == ".git" || name == "fixtures" || name == "__pycache__")
    };
    let mut list = Vec::new();
    for entry in walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().filter_entry(|entry| !foreign(entry)) {
        let entry = entry.unwrap();
        let name = entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if entry.file_type().is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
            list.push(Source { text: fs::read_to_string(entry.path()).unwrap(), name });
        }
    }
    assert!(!list.is_empty(), "no files with {endings:?} under the root");
    list
}

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn members() -> Vec<String> {
    let workspace = &manifest("")["workspace"]["members"];
    workspace.as_array().unwrap().iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

/// Fails with every finding, not with the first.
fn none(rule: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{rule}:\n  {}\n", findings.join("\n  "));
}

/// Rust with comments and the insides of literals blanked, lines kept.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = literal(rest, out.chars().next_back());
        if taken == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(rest[..taken].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[taken..];
        }
    }
    out
}

/// Length of the comment or literal that `text` begins with, or 0.
fn literal(text: &str, before: Option<char>) -> usize {
    let whole = text.len();
    let until = |from: usize, end: &str| text[from..].find(end).map_or(whole, |at| from + at + end.len());
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(whole);
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r')).filter(|_| !in_word);
    if let Some(tail) = raw {
        let hashes = tail.len() - tail.trim_start_matches('#').len();
        if tail[hashes..].starts_with('"') {
            let start = whole - tail.len() + hashes + 1;
            return until(start, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if text.starts_with('"') {
        let mut escaped = false;
        let end = text.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        return end.map_or(whole, |(at, _)| at + 1);
    }
    if let Some(tail) = text.strip_prefix('\'') {
        let mut inside = tail.char_indices();
        return match (inside.next(), inside.next()) {
            (Some((_, '\\')), Some((at, c))) => until(1 + at + c.len_utf8(), "'"),
            (Some(_), Some((at, '\''))) => at + 2,
            _ => 0,
        };
    }
    0
}

#[test]
fn blanking_keeps_code_and_lines() {
    let text = "let a = \"x // \\\" {\"; // {\nlet b = r#\"{\"\n\"#; let c = '{'; let d = '\\''; fn e<'a>() {} /* {\n */ }";
    let code = code(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert_eq!(code.matches('}').count(), 2, "{code}");
}
