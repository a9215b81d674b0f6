//! `ls`: what is in a snapshot.

use archive::read::view;
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::Output;
use serde::Serialize;
use std::ffi::OsString;

use super::{List, Listing, Reading, path, status};
use crate::failure::failure;
use crate::open::Surroundings;
use crate::show::{self, EntryShape, SnapshotShape};

/// Lists what is in a snapshot
#[derive(Args, Debug)]
pub struct Ls {
    #[command(flatten)]
    pub reading: Reading,
    /// `latest`, an id (six digits suffice), a date or a time, as "2026-11-01 13:00" or "3 days ago"
    pub snapshot: String,
    /// Only this path and what lies below it
    pub path: Option<OsString>,
    /// With kind, mode, owner, size and time
    #[arg(short)]
    pub long: bool,
    /// At most so many levels below PATH
    #[arg(long, value_name = "N")]
    pub depth: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Head {
    pub snapshot: SnapshotShape,
}

impl Ls {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let opened = self.reading.repository()?;
        let chosen = self.reading.choose(&opened.facts()?, &opened, &self.snapshot, "", surroundings)?;
        let snapshot = self.reading.open(&opened, &chosen)?;
        let below = self.path.as_deref().map_or(&b""[..], path);
        if !below.is_empty() && view::entry_at(&snapshot, below).map_err(failure)?.is_none() {
            let what = format!("snapshot {} has no path {}", chosen.fact.short(), human::text(below));
            return Err(
                Failure::failed(what).hint("`ls` without a path lists what it has; the first part of a path is the name of its source")
            );
        }
        let mut list = match self.reading.json {
            true => List::Document(Listing::begin(&Head { snapshot: (&chosen.fact).into() }, "entries")?),
            false => List::Lines(Output::stdout()),
        };
        let zone = surroundings.now.time_zone();
        view::ls(&snapshot, below, self.depth, &mut |entry| list.item(|| show::entry(entry, self.long, zone), || EntryShape::from(entry)))
            .map_err(failure)?;
        list.end()?;
        Ok(status(&chosen.unread))
    }
}
