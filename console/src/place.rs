//! Where the configuration is: `--config FILE`, else `RESILIENT_CONFIG`, else the place that a package would use.
//!
//! Flag and environment are arguments, so that this decides and touches nothing. An empty variable counts as none, because
//! that is how a unit file unsets one.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

pub const VARIABLE: &str = "RESILIENT_CONFIG";
pub const NODE: &str = "/etc/resilient/node.toml";
pub const PULL_BACKUP: &str = "/etc/resilient/pull-backup.toml";

/// Which file to read.
pub fn of(flag: Option<&Path>, variable: Option<&OsStr>, otherwise: &str) -> PathBuf {
    let variable = variable.filter(|text| !text.is_empty()).map(Path::new);
    flag.or(variable).unwrap_or(Path::new(otherwise)).to_owned()
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::ReadConfiguration { path: path.to_owned(), source })
}

/// What may be the name of a cluster, node, dataset or source: it becomes the name of a folder.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if fits && starts && text.len() <= 64 {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{}` is no name; up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit",
            crate::human::text(text.as_bytes())
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_then_the_variable() {
        let (flag, variable) = (Path::new("a.toml"), OsStr::new("b.toml"));
        assert_eq!(of(Some(flag), Some(variable), NODE), flag);
        assert_eq!(of(None, Some(variable), NODE), Path::new("b.toml"));
        assert_eq!(of(None, Some(OsStr::new("")), NODE), Path::new(NODE));
        assert_eq!(of(None, None, PULL_BACKUP), Path::new(PULL_BACKUP));
    }

    #[test]
    fn names_are_safe_as_folders() {
        for good in ["shop", "web1.example.org", "a_b-c", "0"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "-x", "a b", "é", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
