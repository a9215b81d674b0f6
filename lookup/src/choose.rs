//! Which snapshot is meant by `latest`, an id or a time.
//!
//! A time means the newest that was captured at or before it. A snapshot whose record cannot be read has no time that could be trusted: it is passed over and
//! named, since it may be the very one that was meant. `latest` never passes one over.

use archive::repository::{Known, Repository};
use console::exit::Failure;
use console::when::{self, When};
use jiff::Zoned;

use crate::failure::{failure, line};
use crate::show;

/// A snapshot, and those that could not be looked at on the way to it.
#[derive(Debug)]
pub struct Choice {
    pub known: Known,
    pub unread: Vec<Unread>,
}

/// A snapshot whose record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Unread {
    pub name: String,
    pub why: String,
}

/// Finds the snapshot that `text` means.
pub fn choose(repository: &Repository, text: &str, now: &Zoned) -> Result<Choice, Failure> {
    let when = when::parse(text, now).map_err(|error| match error {
        console::Error::When { text, why } => Failure::usage(format!("snapshot {text:?}: {why}")).hint(when::FORMS),
        other => other.into(),
    })?;
    let mut all = repository.snapshots().map_err(failure)?;
    let found = match when {
        When::Snapshot(beginning) => by_id(repository, all, &beginning)?,
        When::Latest => all.pop().ok_or_else(|| none(repository))?,
        When::At(moment) => {
            if all.is_empty() {
                return Err(none(repository));
            }
            return at(repository, all, moment.as_millisecond(), now);
        }
    };
    Ok(Choice { known: found, unread: vec![] })
}

fn none(repository: &Repository) -> Failure {
    Failure::failed(format!("the repository of dataset {} has no snapshots yet", repository.config().dataset))
        .hint("`exporter run` on the node that is active makes one")
}

fn by_id(repository: &Repository, mut all: Vec<Known>, beginning: &str) -> Result<Known, Failure> {
    all.extend(repository.quarantined().map_err(failure)?);
    all.retain(|known| known.id.to_string().starts_with(beginning));
    all.sort_by_key(|known| known.id);
    all.dedup_by_key(|known| known.id);
    match all.len() {
        0 => Err(Failure::failed(archive::Error::NoSnapshot { wanted: beginning.into() }).hint("`snapshots` lists what there is")),
        1 => Ok(all.remove(0)),
        count => {
            let some: Vec<String> = all.iter().take(4).map(|known| known.id.to_string()).collect();
            let what = format!("{count} snapshots have an id that begins with {beginning}: {}", some.join(", "));
            Err(Failure::usage(what).hint("write more digits of the one that you mean"))
        }
    }
}

fn at(repository: &Repository, all: Vec<Known>, moment_ms: i64, now: &Zoned) -> Result<Choice, Failure> {
    let (mut best, mut first, mut unread) = (None::<(u64, Known)>, None::<u64>, vec![]);
    for known in all {
        let captured = match repository.snapshot(&known) {
            Ok(snapshot) => snapshot.body.captured_ms,
            Err(error) => {
                unread.push(Unread { name: known.name, why: line(error) });
                continue;
            }
        };
        first = Some(first.map_or(captured, |first| first.min(captured)));
        let fits = i64::try_from(captured).is_ok_and(|captured| captured <= moment_ms);
        if fits && best.as_ref().is_none_or(|(before, _)| *before <= captured) {
            best = Some((captured, known));
        }
    }
    if let Some((_, known)) = best {
        return Ok(Choice { known, unread });
    }
    let zone = now.time_zone();
    let wanted = show::time(u64::try_from(moment_ms).unwrap_or(0), zone);
    let mut what = match first {
        Some(first) => format!("no snapshot was captured at or before {wanted}; the first is of {}", show::time(first, zone)),
        None => "no snapshot can be read".to_owned(),
    };
    if let Some(Unread { name, why }) = unread.first() {
        what.push_str(&format!("; {} could not be read ({name}: {why})", unread.len()));
    }
    Err(Failure::failed(what).hint("`snapshots` lists what there is"))
}
