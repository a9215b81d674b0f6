//! Importing: a snapshot becomes the data of this host.
//!
//! Every source is written beside what is there, each file checked against the digest that the snapshot has of it, and then prepared, which is where databases
//! are loaded. Only when all of them are whole is one after the other switched; when one cannot be, those before it are switched back. So the sources of a
//! dataset are of one snapshot, before and after; a process that dies between two switches leaves that to the next import, which the caller must begin.
//!
//! Where files are switched, the tree that is kept of the import before the last one goes: a file that is right in it, by its digest too, is taken from there in place of
//! being written again.
//!
//! Sources match by name and recipe. One that only the snapshot has, or only the node file, is left as it is and named.

use crate::recipe;
use archive::entry::{Entry, display};
use archive::read::open::OpenSnapshot;
use archive::read::restore::{RestoreOptions, RestoreReport, restore};
use console::exit::Failure;
use console::node_file::{Dataset, Source};
use recipes::data::{Data, Finding, Level, Mode, Place, Staging};
use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    pub entries: u64,
    pub bytes_written: u64,
    /// What is worth knowing, with the name of the source.
    pub findings: Vec<(String, Finding)>,
}

/// Why nothing was imported.
#[derive(Debug)]
pub struct Broken {
    pub failure: Failure,
    /// Some sources are of the new snapshot and others are not; else the data is as it was.
    pub mixed: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Broken {
        Broken { failure, mixed: false }
    }
}

/// A source that the snapshot has as well.
pub(crate) struct Matched<'a> {
    pub source: &'a Source,
    pub data: Box<dyn Data>,
}

/// Imports a snapshot.
pub fn import(snapshot: &OpenSnapshot<'_>, dataset: &Dataset, state: &Path, advance: &(dyn Fn(u64) + Sync)) -> Result<Imported, Broken> {
    let mut done = Imported::default();
    let matched = matched(snapshot, dataset, state, &mut done)?;
    let mut staged = Vec::new();
    for matched in &matched {
        let name = &matched.source.name;
        let staging = matched.data.stage().map_err(|error| recipe::failure(name, error))?;
        for (number, place) in staging.places().iter().enumerate() {
            fill(snapshot, name, place, staging.leaves(number), advance, &mut done)?;
        }
        staged.push((matched, staging));
    }
    for (matched, staging) in &mut staged {
        staging.prepare().map_err(|error| recipe::failure(&matched.source.name, error))?;
    }
    commit(snapshot, staged, &mut done)?;
    Ok(done)
}

pub(crate) fn matched<'a>(
    snapshot: &OpenSnapshot<'_>,
    dataset: &'a Dataset,
    state: &Path,
    done: &mut Imported,
) -> Result<Vec<Matched<'a>>, Failure> {
    let mut all = Vec::new();
    let captured = &snapshot.root.sources;
    for source in &dataset.sources {
        match captured.iter().find(|found| found.name == source.name) {
            None => {
                let what = "the snapshot does not have this source; it stays as it is";
                done.findings.push((source.name.clone(), Finding::new(Level::Warning, what)));
            }
            Some(found) if found.recipe != source.recipe => {
                let (here, there) = (&source.recipe, display(found.recipe.as_bytes()));
                let what = format!("source {}: it was captured by recipe {there}, and the node file here says {here}", source.name);
                return Err(Failure::refused(what).hint("let the node file be the same on every host of the cluster"));
            }
            Some(_) => all.push(Matched { source, data: recipe::data(source, state, &dataset.name)? }),
        }
    }
    for found in captured.iter().filter(|found| !dataset.sources.iter().any(|source| source.name == found.name)) {
        let what = "the node file here does not have this source; it is not imported";
        done.findings.push((display(found.name.as_bytes()), Finding::new(Level::Warning, what)));
    }
    if all.is_empty() {
        let what = format!("no source of dataset {} is in the snapshot", dataset.name);
        return Err(Failure::refused(what).hint("let the node file be the same on every host of the cluster"));
    }
    Ok(all)
}

/// Writes what belongs into a place.
pub(crate) fn fill(
    snapshot: &OpenSnapshot<'_>,
    source: &str,
    place: &Place,
    like: Option<BorrowedFd<'_>>,
    advance: &(dyn Fn(u64) + Sync),
    done: &mut Imported,
) -> Result<(), Failure> {
    // In place, what is of another kind makes way; what is gone, the recipe removes.
    let everything = |_: &[u8]| true;
    let options = RestoreOptions {
        within: source.as_bytes().to_vec(),
        paths: if place.prefix.is_empty() { vec![] } else { vec![place.prefix.clone()] },
        delete: (place.mode == Mode::InPlace).then_some(&everything),
        like,
        threads: archive::threads(),
        advance,
    };
    let report = restore(snapshot, &place.folder, &options).map_err(failure)?;
    whole(source, &report)?;
    done.entries += report.entries;
    done.bytes_written += report.bytes_written;
    for torn in &report.torn {
        let what = format!("{} changed while it was captured, and may be a mixture", display(torn));
        done.findings.push((source.to_owned(), Finding::new(Level::Note, what)));
    }
    Ok(())
}

/// Refuses what is not whole: the data stays what it was.
pub(crate) fn whole(source: &str, report: &RestoreReport) -> Result<(), Failure> {
    let Some(first) = report.problems.first() else { return Ok(()) };
    let more = report.problems.len() - 1;
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    Err(Failure::failed(format!("source {source}: {} could not be written: {}{rest}", display(&first.path), first.why))
        .hint("the data is as it was; `check --read` tells whether the repository is damaged"))
}

type Staged<'a> = (&'a Matched<'a>, Box<dyn Staging>);

fn commit(snapshot: &OpenSnapshot<'_>, staged: Vec<Staged<'_>>, done: &mut Imported) -> Result<(), Broken> {
    let mut switched: Vec<&Matched<'_>> = Vec::new();
    for (matched, staging) in staged {
        let name = &matched.source.name;
        let in_place = staging.places().iter().any(|place| place.mode == Mode::InPlace);
        let held = if in_place { paths(snapshot, name)? } else { HashSet::new() };
        match staging.commit(&mut |path| held.contains(&short(path))) {
            Ok(findings) => done.findings.extend(findings.into_iter().map(|finding| (name.clone(), finding))),
            Err(error) => return Err(switch_back(recipe::failure(name, error), &switched)),
        }
        switched.push(matched);
    }
    Ok(())
}

/// Takes back those sources that were switched before one could not be.
fn switch_back(failure: Failure, switched: &[&Matched<'_>]) -> Broken {
    let mut not = Vec::new();
    for matched in switched.iter().rev() {
        if let Err(error) = matched.data.rollback() {
            not.push(recipe::failure(&matched.source.name, error).to_string());
        }
    }
    if not.is_empty() {
        return failure.into();
    }
    let what = format!("{failure}; and the others could not be switched back: {}", not.join("; "));
    let hint = "the sources of this dataset are of different snapshots now; import again before anything uses them";
    Broken { failure: Failure::failed(what).hint(hint), mixed: true }
}

/// A path as it is remembered: whole paths of a million files would take too much.
type Short = [u8; 16];

fn short(path: &[u8]) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&archive::digest::sha256(path).0[..16]);
    short
}

/// The paths that the snapshot has of a source.
fn paths(snapshot: &OpenSnapshot<'_>, source: &str) -> Result<HashSet<Short>, Failure> {
    let (mut held, prefix) = (HashSet::new(), format!("{source}/").into_bytes());
    let each = &mut |entry: Entry| {
        if let Some(path) = entry.path.strip_prefix(prefix.as_slice()) {
            held.insert(short(path));
        }
        Ok(())
    };
    snapshot.entries(archive::threads(), each).map_err(failure)?;
    Ok(held)
}

/// An error of the archive, with what can be done about it. Refusals keep their own exit status.
pub fn failure(error: archive::Error) -> Failure {
    let hint = error.hint();
    let failure = match error.kind() {
        archive::Kind::Refuse => Failure::refused(error),
        _ => Failure::failed(error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
