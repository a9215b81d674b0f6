//! `find`: where something is in a snapshot, by its name.

use archive::read::view;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::ls::Head;
use super::{List, Listing, Reading, status};
use crate::failure::failure;
use crate::open::Surroundings;
use crate::show::{self, EntryShape};

/// Finds entries of a snapshot by name
#[derive(Args, Debug)]
pub struct Find {
    #[command(flatten)]
    pub reading: Reading,
    /// A name with * and ?; with a / in it, the whole path
    pub pattern: OsString,
    /// Which snapshot: `latest`, an id, a date or a time
    #[arg(long, value_name = "TIME", default_value = "latest")]
    pub at: String,
    /// With kind, mode, owner, size and time
    #[arg(short)]
    pub long: bool,
}

impl Find {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let opened = self.reading.repository()?;
        let chosen = self.reading.choose(&opened.facts()?, &opened, &self.at, "", surroundings)?;
        let snapshot = self.reading.open(&opened, &chosen)?;
        let mut list = match self.reading.json {
            true => List::Document(Listing::begin(&Head { snapshot: (&chosen.fact).into() }, "entries")?),
            false => List::Lines(Output::stdout()),
        };
        let zone = surroundings.now.time_zone();
        view::find(&snapshot, self.pattern.as_bytes(), &mut |entry| {
            list.item(|| show::entry(entry, self.long, zone), || EntryShape::from(entry))
        })
        .map_err(failure)?;
        list.end()?;
        Ok(status(&chosen.unread))
    }
}
