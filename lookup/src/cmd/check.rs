//! `check`: is everything there that the snapshots need, and is it what was signed; and, when asked, what is not comes from another repository.
//!
//! It needs no key, so it proves no content: what restores is shown by imports and drills. Damage is a failure, not a part of success.

use archive::check::{CheckOptions, CheckReport, Part, check};
use archive::heal::{HealReport, Scope, heal};
use archive::repository::{Access, Repository};
use archive::sign::Signer;
use archive::sync::SyncOptions;
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::{Output, tell};
use console::progress::Progress;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document;
use crate::failure::failure;
use crate::open::{Roots, Surroundings};
use crate::place::{Means, Place};

/// Checks that everything is there and is what was signed
#[derive(Args, Debug)]
pub struct Check {
    /// The dataset, when the configuration knows several
    #[arg(value_name = "DATASET")]
    pub name: Option<String>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub roots: Roots,
    /// Read every byte that a snapshot needs, too
    #[arg(long)]
    pub read: bool,
    /// Read one part of N only, as 3/30; all parts together are everything
    #[arg(long, value_name = "K/N", requires = "read", value_parser = part)]
    pub part: Option<Part>,
    /// Replace what is damaged or missing by what the repository in this folder has, then check
    #[arg(long, value_name = "FROM_DIR")]
    pub heal: Option<PathBuf>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Shape {
    whole: bool,
    snapshots: u64,
    runs: u64,
    segments: u64,
    bytes_read: u64,
    findings: Vec<FindingShape>,
    heal: Option<HealShape>,
}

#[derive(Serialize)]
struct FindingShape {
    name: String,
    why: String,
    snapshots: Vec<String>,
}

#[derive(Serialize)]
struct HealShape {
    healed: Vec<String>,
    segments: u64,
    bytes: u64,
    remaining: Vec<RemainingShape>,
    lacking: Vec<String>,
    stopped: Option<String>,
}

#[derive(Serialize)]
struct RemainingShape {
    name: String,
    why: String,
}

/// Parts are counted from 1 on the command line, and from 0 in the archive.
fn part(text: &str) -> Result<Part, String> {
    let wrong = || format!("`{text}` is no part; write it as 3/30, the third of thirty");
    let (number, of) = text.split_once('/').ok_or_else(wrong)?;
    let (number, of): (u32, u32) = (number.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
    if number == 0 || number > of { Err(wrong()) } else { Ok(Part { number: number - 1, of }) }
}

impl Check {
    pub fn means(&mut self) -> Means<'_> {
        let dataset = self.name.clone().or_else(|| self.place.dataset.clone());
        Means { place: &mut self.place, dataset, roots: &mut self.roots, identity: None }
    }

    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let healed = match &self.heal {
            Some(from) => Some(self.heal(from, surroundings)?),
            None => None,
        };
        let repository = self.place.open(Access::Shared)?;
        let read = self.read.then(|| self.part.unwrap_or(Part { number: 0, of: 1 }));
        let progress = if self.json || read.is_none() { Progress::hidden() } else { Progress::new("reading", None) };
        let advance = |bytes| progress.advance(bytes);
        let options = CheckOptions { trust: self.roots.trust(), read, threads: archive::threads(), advance: &advance };
        let outcome = check(&repository, &options);
        progress.finish();
        let report = outcome.map_err(failure)?;
        self.say(&report, healed.as_ref())?;
        self.judge(&report, healed.as_ref())
    }

    fn heal(&self, from: &Path, surroundings: &Surroundings) -> Result<HealReport, Failure> {
        let other = Place { repository: Some(from.to_owned()), ..Place::default() };
        if let (Ok(ours), Ok(theirs)) = (self.place.folder()?.canonicalize(), from.canonicalize())
            && ours == theirs
        {
            return Err(
                Failure::usage(format!("{} cannot heal itself", other.shown())).hint("name another repository of this dataset with --heal")
            );
        }
        let source = other.open(Access::Shared)?;
        let repository = self.place.open(Access::Exclusive)?;
        self.same_dataset(&repository, &source, &other)?;
        let now_ms = surroundings.now_ms();
        let progress = if self.json { Progress::hidden() } else { Progress::new("healing", None) };
        let shown = progress.clone();
        // Healing brings back what was here, so nothing is received now: the key of receipts is nobody's.
        let nobody = Arc::new(Signer::from_seed(&Signer::new_seed()));
        let mut options = SyncOptions::new(self.roots.trust(), nobody, Arc::new(move || now_ms));
        options.advance = Arc::new(move |bytes| shown.advance(bytes));
        let outcome = heal(&repository, &source, Scope::Everything, &options);
        progress.finish();
        outcome.map_err(failure)
    }

    fn same_dataset(&self, ours: &Repository, theirs: &Repository, other: &Place) -> Result<(), Failure> {
        let (ours, theirs) = (ours.config(), theirs.config());
        if (&ours.cluster, &ours.dataset) == (&theirs.cluster, &theirs.dataset) {
            return Ok(());
        }
        let what = format!(
            "{} holds dataset {} of cluster {}, {} dataset {} of cluster {}",
            other.shown(),
            theirs.dataset,
            theirs.cluster,
            self.place.shown(),
            ours.dataset,
            ours.cluster
        );
        Err(Failure::usage(what).hint("name another repository of the same dataset with --heal"))
    }

    fn say(&self, report: &CheckReport, healed: Option<&HealReport>) -> Result<(), Failure> {
        if self.json {
            return document(&shape(report, healed));
        }
        let mut output = Output::stdout();
        if let Some(healed) = healed {
            let (objects, segments, bytes) = (healed.healed.len() as u64, human::count(healed.segments), human::bytes(healed.bytes));
            output.line(format_args!("healed: {} objects, {segments} segments, {bytes} fetched", human::count(objects)))?;
            for name in &healed.healed {
                output.line(format_args!("  {}", human::text(name.as_bytes())))?;
            }
            for refusal in &healed.remaining {
                tell(format_args!("not healed: {}: {}", human::text(refusal.name.as_bytes()), human::text(refusal.why.as_bytes())));
            }
        }
        for finding in &report.findings {
            let short: Vec<String> = finding.snapshots.iter().map(|id| id.to_string()[..8].to_owned()).collect();
            let needs = if short.is_empty() { "no snapshot needs it".to_owned() } else { format!("needed by {}", short.join(", ")) };
            output.line(format_args!("{}: {} ({needs})", human::text(finding.name.as_bytes()), human::text(finding.why.as_bytes())))?;
        }
        let (snapshots, runs, segments) = (human::count(report.snapshots), human::count(report.runs), human::count(report.segments));
        let read = match (self.read, self.part) {
            (false, _) => "not read".to_owned(),
            (true, None) => format!("{} read", human::bytes(report.bytes_read)),
            (true, Some(part)) => format!("{} read, part {} of {}", human::bytes(report.bytes_read), part.number + 1, part.of),
        };
        output.line(format_args!(
            "checked {snapshots} snapshots, {runs} runs, {segments} segments ({read}): {} findings",
            report.findings.len()
        ))?;
        Ok(output.finish()?)
    }

    fn judge(&self, report: &CheckReport, healed: Option<&HealReport>) -> Result<Status, Failure> {
        let stopped = healed.and_then(|healed| healed.stopped.as_ref()).map(ToString::to_string);
        if report.findings.is_empty() && stopped.is_none() && healed.is_none_or(HealReport::is_whole) {
            return Ok(Status::Done);
        }
        let concerned = report.concerned().len();
        let mut what = format!("{} has {} findings, which concern {concerned} snapshots", self.place.shown(), report.findings.len());
        if let Some(why) = stopped {
            what.push_str(&format!("; healing stopped: {why}"));
        }
        let status = if healed.is_some_and(|healed| !healed.healed.is_empty()) { Status::Partial } else { Status::Failed };
        let hint = match healed {
            None => "`check --heal FROM_DIR` fetches what is broken from another repository of this dataset",
            Some(_) => {
                "heal from another repository of this dataset; what none of them has is read anew by the next export, as far as it is still there"
            }
        };
        Err(Failure::new(status, what).hint(hint))
    }
}

fn shape(report: &CheckReport, healed: Option<&HealReport>) -> Shape {
    let findings = report.findings.iter().map(|finding| FindingShape {
        name: finding.name.clone(),
        why: finding.why.clone(),
        snapshots: finding.snapshots.iter().map(ToString::to_string).collect(),
    });
    let heal = healed.map(|healed| HealShape {
        healed: healed.healed.clone(),
        segments: healed.segments,
        bytes: healed.bytes,
        remaining: healed
            .remaining
            .iter()
            .map(|refusal| RemainingShape { name: refusal.name.clone(), why: refusal.why.clone() })
            .collect(),
        lacking: healed.lacking.iter().map(ToString::to_string).collect(),
        stopped: healed.stopped.as_ref().map(ToString::to_string),
    });
    let CheckReport { snapshots, runs, segments, bytes_read, .. } = *report;
    Shape {
        whole: report.findings.is_empty() && healed.is_none_or(HealReport::is_whole),
        snapshots,
        runs,
        segments,
        bytes_read,
        findings: findings.collect(),
        heal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(part("1/1"), Ok(Part { number: 0, of: 1 }));
        assert_eq!(part("30/30").map(|part| part.number), Ok(29));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", ""] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
