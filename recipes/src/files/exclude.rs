//! Which entries are left out: gitignore's syntax, relative to the root, and the recipe's own leavings.
//!
//! An entry below an excluded folder is never asked about, since excluded folders are not entered; so `!` brings back
//! only what lies in folders that are entered, as in git.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::Error;

/// Beside a target: what is being imported, and what was there before the last import.
pub(crate) const NEW: &str = ".resilient-new";
pub(crate) const PREVIOUS: &str = ".resilient-previous";
/// Two excluded entries met at one place: the one that lost it is kept under this ending and a number.
pub(crate) const KEPT: &str = ".resilient-kept-";

pub(crate) struct Excludes {
    pub patterns: Vec<String>,
    rules: Gitignore,
    anything: bool,
}

impl Excludes {
    pub fn new(patterns: &[String]) -> Result<Excludes, Error> {
        // Paths are relative already; "." is the root from which nothing is stripped.
        let mut builder = GitignoreBuilder::new(".");
        // Empty lines mean nothing to git either.
        let patterns: Vec<String> = patterns.iter().filter(|pattern| !pattern.is_empty()).cloned().collect();
        for pattern in &patterns {
            if pattern.contains('\0') {
                return Err(Error::Settings { reason: format!("the exclude {pattern:?} holds a NUL") });
            }
            let refused = |source| Error::Exclude { pattern: pattern.clone(), source };
            builder.add_line(None, pattern).map_err(refused)?;
        }
        let rules = builder.build().map_err(|source| Error::Exclude { pattern: patterns.join("\n"), source })?;
        let anything = !rules.is_empty();
        Ok(Excludes { patterns, rules, anything })
    }

    /// None is excluded, not even leavings: for trees that are removed whole.
    pub fn nothing() -> Excludes {
        Excludes { patterns: Vec::new(), rules: Gitignore::empty(), anything: false }
    }

    /// `path` is relative to the root.
    pub fn matches(&self, path: &[u8], folder: bool) -> bool {
        self.anything && self.rules.matched(Path::new(OsStr::from_bytes(path)), folder).is_ignore()
    }
}

/// Whether this name is one that imports leave beside or in a target.
pub(crate) fn is_leaving(name: &[u8]) -> bool {
    if name.starts_with(b".") && (name.ends_with(NEW.as_bytes()) || name.ends_with(PREVIOUS.as_bytes())) {
        return true;
    }
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && name[..name.len() - digits].ends_with(KEPT.as_bytes())
}
