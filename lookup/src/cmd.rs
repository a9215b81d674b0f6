//! The commands, one file each: its arguments and what it does.
//!
//! Each says on standard error which snapshot it reads; with `--json` that stands in the document instead, and nothing else is said unless something is wrong.

pub mod check;
pub mod diff;
pub mod find;
pub mod ls;
pub mod restore;
pub mod snapshots;

use archive::read::open::OpenSnapshot;
use archive::repository::Repository;
use archive::trust::Trust;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use serde::Serialize;
use std::cell::OnceCell;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use crate::choose::{Unread, choose};
use crate::fact::{Fact, Facts};
use crate::failure::failure;
use crate::open::{Identity, Roots, Surroundings, open_snapshot};
use crate::place::{Distant, Means, Place};
use crate::show;

/// What every command that opens snapshots is told.
#[derive(Args, Debug)]
pub struct Reading {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub identity: Identity,
    #[command(flatten)]
    pub roots: Roots,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// A repository, opened, and whose signatures count in it.
pub struct Opened {
    pub repository: Repository,
    pub trust: Trust,
    distant: Option<Arc<dyn Distant>>,
    /// What was brought from there.
    brought: OnceCell<Repository>,
}

/// A snapshot that was chosen, and those that could not be looked at on the way.
pub struct Chosen {
    pub fact: Fact,
    pub unread: Vec<Unread>,
}

impl Reading {
    pub fn repository(&self) -> Result<Opened, Failure> {
        let distant = self.place.distant.clone().filter(|_| self.place.repository.is_none());
        Ok(Opened { repository: self.place.list()?, trust: self.roots.trust(), distant, brought: OnceCell::new() })
    }

    pub fn means(&mut self, dataset: Option<String>) -> Means<'_> {
        let dataset = dataset.or_else(|| self.place.dataset.clone());
        Means { place: &mut self.place, dataset, roots: &mut self.roots, identity: Some(&mut self.identity) }
    }

    /// Chooses the snapshot that `text` means, and says which it is.
    pub fn choose(
        &self,
        facts: &Facts<'_>,
        opened: &Opened,
        text: &str,
        label: &str,
        surroundings: &Surroundings,
    ) -> Result<Chosen, Failure> {
        let choice = choose(&opened.repository, text, &surroundings.now)?;
        for Unread { name, why } in &choice.unread {
            tell(format_args!("passed over: {name}: {why}"));
        }
        let fact = facts.of(&choice.known).map_err(|error| {
            let other = "`snapshots` lists what there is; an id or a time opens another one";
            let hint = error.hint().map_or_else(|| other.to_owned(), |hint| format!("{hint}; {other}"));
            failure(error).hint(hint)
        })?;
        if !self.json {
            tell(format_args!("{label}{}", show::headline(&fact, &surroundings.now)));
        }
        Ok(Chosen { fact, unread: choice.unread })
    }

    pub fn open<'r>(&self, opened: &'r Opened, chosen: &Chosen) -> Result<OpenSnapshot<'r>, Failure> {
        open_snapshot(opened, &chosen.fact, &mut self.identity.keyring()?)
    }
}

impl Opened {
    /// Where the content of a snapshot is; from another host it is brought here first.
    pub fn content(&self, fact: &Fact) -> Result<&Repository, Failure> {
        let Some(distant) = &self.distant else { return Ok(&self.repository) };
        let room = match self.brought.get() {
            Some(room) => room,
            None => {
                let room = distant.room()?;
                self.brought.get_or_init(|| room)
            }
        };
        distant.bring(fact, room)?;
        Ok(room)
    }

    pub fn facts(&self) -> Result<Facts<'_>, Failure> {
        Facts::load(&self.repository, &self.trust).map_err(failure)
    }
}

/// Done, unless something was passed over.
pub fn status(unread: &[Unread]) -> Status {
    if unread.is_empty() { Status::Done } else { Status::Partial }
}

/// A path in a snapshot as it is typed: slashes around it do not matter.
pub fn path(text: &OsStr) -> &[u8] {
    let mut path = text.as_bytes();
    while let Some(rest) = path.strip_prefix(b"/") {
        path = rest;
    }
    while let Some(rest) = path.strip_suffix(b"/") {
        path = rest;
    }
    path
}

/// A document of one line.
pub fn document(shape: &impl Serialize) -> Result<(), Failure> {
    let mut output = Output::stdout();
    output.line(json(shape)).and_then(|()| output.finish()).map_err(Failure::from)
}

/// A shape as JSON.
pub fn json(shape: &impl Serialize) -> String {
    serde_json::to_string(shape).expect("shapes have text as keys, and nothing that cannot be written")
}

/// A document with a list that may be long: written as it comes, an item on each line. Cut short, it is no JSON, so nobody takes it for the whole.
pub struct Listing {
    output: Output,
    items: u64,
}

impl Listing {
    /// Begins with the fields of `head`, which is a map.
    pub fn begin(head: &impl Serialize, list: &str) -> Result<Listing, Failure> {
        let mut output = Output::stdout();
        let head = json(head);
        output.line(format_args!("{},\"{list}\":[", head.strip_suffix('}').unwrap_or(&head)))?;
        Ok(Listing { output, items: 0 })
    }

    pub fn item(&mut self, shape: &impl Serialize) -> archive::Result<()> {
        let comma = if self.items > 0 { ",\n" } else { "" };
        self.items += 1;
        write!(self.output, "{comma}{}", json(shape)).map_err(|source| archive::Error::Store {
            operation: "write",
            name: "the list".into(),
            source,
        })
    }

    pub fn end(mut self) -> Result<(), Failure> {
        self.output.line(if self.items > 0 { "\n]}" } else { "]}" })?;
        Ok(self.output.finish()?)
    }
}

/// A list for people or for programs.
pub enum List {
    Lines(Output),
    Document(Listing),
}

impl List {
    pub fn item<S: Serialize>(&mut self, line: impl FnOnce() -> String, shape: impl FnOnce() -> S) -> archive::Result<()> {
        match self {
            List::Lines(output) => writeln!(output, "{}", line()).map_err(|source| archive::Error::Store {
                operation: "write",
                name: "the list".into(),
                source,
            }),
            List::Document(listing) => listing.item(&shape()),
        }
    }

    pub fn end(self) -> Result<(), Failure> {
        match self {
            List::Lines(output) => Ok(output.finish()?),
            List::Document(listing) => listing.end(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_around_a_path_do_not_matter() {
        for text in ["s/a", "/s/a", "s/a/", "//s/a//"] {
            assert_eq!(path(OsStr::new(text)), b"s/a");
        }
        assert_eq!(path(OsStr::new("/")), b"");
    }
}
