//! When things were first seen here: a store tells no times, and those in records are claimed by others.
//!
//! One object in `marks/`, replaced by each sweep that saw something new. Without it everything counts as just come, so losing it costs patience and nothing else.

use crate::digest::sha256;
use crate::error::{Error, Result};
use crate::name;
use crate::repository::Repository;
use crate::store::{publish, read_all};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

#[derive(Default, PartialEq, Eq)]
pub struct Marks {
    seen_ms: BTreeMap<String, u64>,
    files: Vec<String>,
    changed: bool,
}

const HEAD: &str = "resilient marks 1\n";
const MARKS_MAX: usize = 1 << 28;

impl Marks {
    pub fn load(repository: &Repository) -> Result<Marks> {
        let mut marks = Marks::default();
        for listed in repository.list(name::MARKS)? {
            let bytes = read_all(repository.store(), &listed.name, MARKS_MAX)?;
            if listed.name == name::marks(&sha256(&bytes)) {
                marks.read(&String::from_utf8_lossy(&bytes));
            } else {
                marks.changed = true;
            }
            marks.files.push(listed.name);
        }
        marks.changed |= marks.files.len() > 1;
        Ok(marks)
    }

    fn read(&mut self, text: &str) {
        for line in text.strip_prefix(HEAD).unwrap_or_default().lines() {
            if let Some((time, name)) = line.split_once(' ')
                && let Ok(time_ms) = time.parse::<u64>()
            {
                let seen = self.seen_ms.entry(name.to_string()).or_insert(time_ms);
                *seen = time_ms.min(*seen);
            }
        }
    }

    /// What there is now. What is gone is forgotten, what is new was first seen now; so was what was seen in the future, by a clock that went wrong.
    pub fn see(&mut self, there: &HashSet<String>, now_ms: u64) {
        let before = self.seen_ms.len();
        self.seen_ms.retain(|name, _| there.contains(name));
        self.changed |= self.seen_ms.len() != before;
        for name in there {
            let seen = self.seen_ms.entry(name.clone()).or_insert(u64::MAX);
            if *seen > now_ms {
                *seen = now_ms;
                self.changed = true;
            }
        }
    }

    /// Whether it was seen at least so long ago.
    pub fn is_older(&self, name: &str, patience_ms: u64, now_ms: u64) -> bool {
        self.seen_ms.get(name).is_some_and(|seen_ms| seen_ms.saturating_add(patience_ms) <= now_ms)
    }

    /// Writes them down, if anything changed, and then removes what they replace.
    pub fn save(&mut self, repository: &Repository) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let mut text = HEAD.to_string();
        for (name, seen_ms) in &self.seen_ms {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{seen_ms} {name}");
        }
        let name = name::marks(&sha256(text.as_bytes()));
        match publish(repository.store(), &name, text.as_bytes()) {
            Err(Error::Conflict { .. }) => {
                repository.store().remove(&name).map_err(Error::store("remove", &name))?;
                publish(repository.store(), &name, text.as_bytes())?;
            }
            other => drop(other?),
        }
        for old in std::mem::replace(&mut self.files, vec![name.clone()]) {
            if old != name {
                repository.store().remove(&old).map_err(Error::store("remove", &old))?;
            }
        }
        self.changed = false;
        Ok(())
    }
}
