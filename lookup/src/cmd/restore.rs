//! `restore`: a snapshot by date, whole or in part, into a folder; or one file to standard output.
//!
//! What can be restored is; what cannot is named, and the exit status is 4. It refuses targets that would harm the repository itself.

use archive::entry::{Entry, Node, lies_in};
use archive::read::open::OpenSnapshot;
use archive::read::restore::{RestoreOptions, RestoreReport, restore};
use archive::read::view;
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::{Output, tell};
use console::progress::Progress;
use serde::Serialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Chosen, Opened, Reading, document, path, status};
use crate::choose::Unread;
use crate::failure::failure;
use crate::open::Surroundings;
use crate::place::Means;
use crate::show::{PathShape, SnapshotShape};

/// Restores a snapshot by date into a folder
#[derive(Args, Debug)]
pub struct Restore {
    #[command(flatten)]
    pub reading: Reading,
    /// The dataset, when the configuration knows several; with --repository it must be that one's
    #[arg(value_name = "DATASET")]
    pub name: Option<String>,
    /// The newest snapshot captured at or before this: "2026-11-01 13:00", "3 days ago", a date, `latest`, or an id
    #[arg(long, value_name = "TIME")]
    pub at: String,
    /// The folder to restore to; made when it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "stdout")]
    pub to: Option<PathBuf>,
    /// Only this path and what lies below it; may be given several times
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Remove from the folder what the snapshot does not have
    #[arg(long, conflicts_with = "stdout")]
    pub delete: bool,
    /// Write the file that --path names to standard output
    #[arg(long, requires = "paths", conflicts_with = "json")]
    pub stdout: bool,
}

#[derive(Serialize)]
struct Shape<'a> {
    snapshot: SnapshotShape,
    to: String,
    entries: u64,
    files_written: u64,
    files_kept: u64,
    bytes_written: u64,
    removed: u64,
    problems: Vec<ProblemShape>,
    torn: Vec<PathShape>,
    unread: &'a [Unread],
}

#[derive(Serialize)]
struct ProblemShape {
    #[serde(flatten)]
    path: PathShape,
    why: String,
}

impl Restore {
    pub fn means(&mut self) -> Means<'_> {
        self.reading.means(self.name.clone())
    }

    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        if self.stdout && self.paths.len() != 1 {
            return Err(Failure::usage("--stdout writes one file").hint("name it with one --path"));
        }
        if self.to.is_none() && !self.stdout {
            return Err(Failure::usage("it is not said where to restore to").hint("name a folder with --to DIR"));
        }
        let opened = self.reading.repository()?;
        let dataset = &opened.repository.config().dataset;
        let wanted = self.name.as_deref().map(|name| name.rsplit('/').next().unwrap_or(name));
        if let Some(wanted) = wanted.filter(|wanted| wanted != dataset) {
            let what =
                format!("the repository {} holds dataset {dataset}, not {}", self.reading.place.shown(), human::text(wanted.as_bytes()));
            return Err(Failure::usage(what).hint("name the folder of that dataset's repository with --repository"));
        }
        if let Some(target) = &self.to {
            self.judge_target(target)?;
        }
        let chosen = self.reading.choose(&opened.facts()?, &opened, &self.at, "", surroundings)?;
        let snapshot = self.reading.open(&opened, &chosen)?;
        match &self.to {
            Some(target) => self.fill_folder(&opened, &chosen, &snapshot, target),
            None => self.write_out(&chosen, &snapshot),
        }
    }

    /// Refuses what would destroy the repository, or more than anybody means.
    fn judge_target(&self, target: &Path) -> Result<(), Failure> {
        let shown = human::text(target.as_os_str().as_encoded_bytes());
        if target.exists() && !target.is_dir() {
            return Err(Failure::usage(format!("{shown} is not a folder")).hint("name a folder with --to, or write one file with --stdout"));
        }
        let repository = self.reading.place.repository.as_deref();
        let (Some(target), Some(repository)) = (real(target), repository.and_then(real)) else { return Ok(()) };
        if target.starts_with(&repository) {
            return Err(Failure::refused(format!("{shown} lies in the repository itself")).hint("choose a folder outside of it"));
        }
        if self.delete && repository.starts_with(&target) {
            let what = format!("with --delete, restoring to {shown} would remove the repository, which lies in it");
            return Err(Failure::refused(what).hint("restore to a folder of its own"));
        }
        Ok(())
    }

    fn fill_folder(&self, opened: &Opened, chosen: &Chosen, snapshot: &OpenSnapshot<'_>, target: &Path) -> Result<Status, Failure> {
        let paths: Vec<Vec<u8>> = self.paths.iter().map(|text| path(text).to_vec()).filter(|path| !path.is_empty()).collect();
        let total = match paths.len() {
            0 => chosen.fact.snapshot.body.content_bytes,
            _ => measure(snapshot, &paths, &chosen.fact.short())?,
        };
        let progress = if self.reading.json { Progress::hidden() } else { Progress::new("restoring", Some(total)) };
        let everything = |_: &[u8]| false;
        let options = RestoreOptions {
            within: vec![],
            paths,
            delete: self.delete.then_some(&everything),
            like: None,
            threads: archive::threads(),
            advance: &|bytes| progress.advance(bytes),
        };
        let outcome = restore(snapshot, target, &options);
        progress.finish();
        let report = outcome.map_err(failure)?;
        self.say(opened, chosen, &report, target)?;
        Ok(if report.problems.is_empty() { status(&chosen.unread) } else { Status::Partial })
    }

    fn say(&self, opened: &Opened, chosen: &Chosen, report: &RestoreReport, target: &Path) -> Result<(), Failure> {
        let shown = human::text(target.as_os_str().as_encoded_bytes());
        for torn in &report.torn {
            tell(format_args!("it changed while it was captured: {}", human::text(torn)));
        }
        for problem in &report.problems {
            tell(format_args!("not restored: {}: {}", human::text(&problem.path), human::text(problem.why.as_bytes())));
        }
        if self.reading.json {
            return document(&Shape {
                snapshot: (&chosen.fact).into(),
                to: shown,
                entries: report.entries,
                files_written: report.files_written,
                files_kept: report.files_kept,
                bytes_written: report.bytes_written,
                removed: report.removed,
                problems: report
                    .problems
                    .iter()
                    .map(|problem| ProblemShape { path: problem.path.as_slice().into(), why: problem.why.clone() })
                    .collect(),
                torn: report.torn.iter().map(|path| path.as_slice().into()).collect(),
                unread: &chosen.unread,
            });
        }
        let mut output = Output::stdout();
        output.line(format_args!(
            "restored {} of dataset {} to {shown}: {} entries, {} files written ({}), {} were there already{}{}",
            chosen.fact.short(),
            opened.repository.config().dataset,
            human::count(report.entries),
            human::count(report.files_written),
            human::bytes(report.bytes_written),
            human::count(report.files_kept),
            if self.delete { format!(", {} removed", human::count(report.removed)) } else { String::new() },
            if report.problems.is_empty() {
                String::new()
            } else {
                format!("; {} NOT restored", human::count(report.problems.len() as u64))
            },
        ))?;
        Ok(output.finish()?)
    }

    fn write_out(&self, chosen: &Chosen, snapshot: &OpenSnapshot<'_>) -> Result<Status, Failure> {
        let wanted = path(&self.paths[0]);
        let shown = human::text(wanted);
        let mut entry = find(snapshot, wanted, &chosen.fact.short())?;
        if let Node::HardLink(to) = &entry.node {
            entry = find(snapshot, &to.clone(), &chosen.fact.short())?;
        }
        let Node::File(content) = &entry.node else {
            return Err(Failure::usage(format!("{shown} is not a file")).hint("restore it into a folder with --to DIR"));
        };
        if content.torn {
            tell(format_args!("it changed while it was captured: {shown}"));
        }
        let mut output = Output::stdout();
        let outcome = view::cat(snapshot, content, &std::env::temp_dir(), &mut Leaving(&mut output));
        if output.closed() {
            return Ok(Status::Done);
        }
        outcome.map_err(failure)?;
        output.finish()?;
        Ok(status(&chosen.unread))
    }
}

/// Ends the work when the reader has left.
struct Leaving<'a>(&'a mut Output);

impl Write for Leaving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        if self.0.closed() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(written) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Where a path leads, though its end may not be there yet.
fn real(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    let mut there = whole.as_path();
    let mut missing = vec![];
    loop {
        if let Ok(mut found) = there.canonicalize() {
            found.extend(missing.iter().rev());
            return Some(found);
        }
        missing.push(there.file_name()?);
        there = there.parent()?;
    }
}

fn no_path(path: &[u8], short: &str) -> Failure {
    Failure::failed(format!("snapshot {short} has no path {}", human::text(path)))
        .hint("`ls` lists what it has; the first part of a path is the name of its source")
}

fn find(snapshot: &OpenSnapshot<'_>, path: &[u8], short: &str) -> Result<Entry, Failure> {
    view::entry_at(snapshot, path).map_err(failure)?.ok_or_else(|| no_path(path, short))
}

/// The bytes below these paths; each of them must be there.
fn measure(snapshot: &OpenSnapshot<'_>, paths: &[Vec<u8>], short: &str) -> Result<u64, Failure> {
    let (mut found, mut total) = (vec![false; paths.len()], 0);
    let each = &mut |entry: Entry| {
        let mut inside = false;
        for (path, found) in paths.iter().zip(&mut found) {
            let here = lies_in(&entry.path, path);
            *found |= here;
            inside |= here;
        }
        if let (true, Node::File(content)) = (inside, &entry.node) {
            total += content.len;
        }
        Ok(())
    };
    snapshot.entries(archive::threads(), each).map_err(failure)?;
    match found.iter().position(|found| !found) {
        Some(missing) => Err(no_path(&paths[missing], short)),
        None => Ok(total),
    }
}
