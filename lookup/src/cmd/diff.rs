//! `diff`: what changed between two snapshots.

use archive::entry::lies_in;
use archive::read::open::OpenSnapshot;
use archive::read::view::{self, Change, Difference};
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::{Output, tell};
use serde::Serialize;
use std::ffi::{OsStr, OsString};

use super::{List, Listing, Reading, path, status};
use crate::fact::Fact;
use crate::failure::failure;
use crate::open::Surroundings;
use crate::show::{PathShape, SnapshotShape};

/// Shows what changed between two snapshots
#[derive(Args, Debug)]
#[command(
    after_help = "Each line begins with + added, - removed, M changed in content or kind, m changed in mode, owner, time or attributes only."
)]
pub struct Diff {
    #[command(flatten)]
    pub reading: Reading,
    /// The one before: `latest`, an id, a date or a time
    #[arg(value_name = "A")]
    pub before: String,
    /// The one after
    #[arg(value_name = "B")]
    pub after: String,
    /// Only this path and what lies below it
    #[arg(long, value_name = "PATH")]
    pub path: Option<OsString>,
}

#[derive(Serialize)]
struct Head {
    before: SnapshotShape,
    after: SnapshotShape,
}

#[derive(Serialize)]
struct Shape {
    change: &'static str,
    #[serde(flatten)]
    path: PathShape,
    size_before: Option<u64>,
    size_after: Option<u64>,
}

/// How often each kind of change was seen.
#[derive(Default)]
struct Counts {
    added: u64,
    removed: u64,
    content: u64,
    attributes: u64,
}

impl Diff {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let opened = self.reading.repository()?;
        let facts = opened.facts()?;
        let before = self.reading.choose(&facts, &opened, &self.before, "before: ", surroundings)?;
        let mut after = self.reading.choose(&facts, &opened, &self.after, "after:  ", surroundings)?;
        let mut keyring = self.reading.identity.keyring()?;
        let mut open = |fact| crate::open::open_snapshot(&opened, fact, &mut keyring);
        let (old, new) = (open(&before.fact)?, open(&after.fact)?);
        show((&before.fact, &old), (&after.fact, &new), self.path.as_deref(), self.reading.json)?;
        after.unread.extend(before.unread);
        Ok(status(&after.unread))
    }
}

/// Shows what changed between two snapshots, each in whatever repository it is.
pub fn show(
    (before, old): (&Fact, &OpenSnapshot<'_>),
    (after, new): (&Fact, &OpenSnapshot<'_>),
    only: Option<&OsStr>,
    as_json: bool,
) -> Result<(), Failure> {
    let below = only.map_or(&b""[..], path);
    if !below.is_empty() && view::entry_at(old, below).map_err(failure)?.is_none() && view::entry_at(new, below).map_err(failure)?.is_none()
    {
        let what = format!("neither {} nor {} has the path {}", before.short(), after.short(), human::text(below));
        return Err(Failure::failed(what).hint("`ls` lists what a snapshot has"));
    }
    let mut list = match as_json {
        true => List::Document(Listing::begin(&Head { before: before.into(), after: after.into() }, "differences")?),
        false => List::Lines(Output::stdout()),
    };
    let mut counts = Counts::default();
    view::diff(old, new, &mut |difference| {
        if !lies_in(&difference.path, below) {
            return Ok(());
        }
        counts.add(difference.change);
        list.item(|| line(&difference), || shape(&difference))
    })
    .map_err(failure)?;
    list.end()?;
    if !as_json {
        let Counts { added, removed, content, attributes } = counts;
        tell(format_args!("{added} added, {removed} removed, {content} changed, {attributes} changed in attributes only"));
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, change: Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Content => &mut self.content,
            Change::Attributes => &mut self.attributes,
        } += 1;
    }
}

fn line(difference: &Difference) -> String {
    let path = human::text(&difference.path);
    let bytes = |len: Option<u64>| len.map_or("no file".to_owned(), human::bytes);
    let size = |len: Option<u64>| len.map_or(String::new(), |len| format!("  ({})", human::bytes(len)));
    match difference.change {
        Change::Added => format!("+ {path}{}", size(difference.len_after)),
        Change::Removed => format!("- {path}{}", size(difference.len_before)),
        Change::Attributes => format!("m {path}"),
        Change::Content if difference.len_before == difference.len_after => format!("M {path}{}", size(difference.len_after)),
        Change::Content => format!("M {path}  ({} -> {})", bytes(difference.len_before), bytes(difference.len_after)),
    }
}

fn shape(difference: &Difference) -> Shape {
    let change = match difference.change {
        Change::Added => "added",
        Change::Removed => "removed",
        Change::Content => "content",
        Change::Attributes => "attributes",
    };
    Shape {
        change,
        path: difference.path.as_slice().into(),
        size_before: difference.len_before,
        size_after: difference.len_after,
    }
}
