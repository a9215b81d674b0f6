//! Check: is everything there, is it what was signed, and whose is what is not.
//!
//! Structure: every container's trailer, every record's signature and name, the snapshots' runs and live ranges, sealing identities, index files. With `read`, the bytes
//! of segments against the hashes that their runs list. It needs no key, so it proves no content: imports and drills do.
//!
//! A finding names the snapshots that need what is damaged; one that names none costs nobody anything yet. Nothing is changed here.

mod objects;
mod segments;

use crate::error::{Error, Result};
use crate::id::{Address, RunId, SnapshotId};
use crate::name;
use crate::repository::{Repository, parse_config};
use crate::roots::{self, Root, Roots, is_damage};
use crate::trust::Trust;
use std::collections::{BTreeSet, HashMap};

/// Which part of the segments is read: containers are dealt out by name, so that `of` parts are everything, whatever night each is read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub number: u32,
    pub of: u32,
}

/// How to check.
pub struct CheckOptions<'a> {
    pub trust: Trust,
    /// `None`: structure only.
    pub read: Option<Part>,
    pub threads: usize,
    /// Hears of bytes as they are read.
    pub advance: &'a (dyn Fn(u64) + Sync),
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        CheckOptions { trust: Trust::default(), read: None, threads: crate::threads(), advance: &|_| () }
    }
}

/// Something that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub name: String,
    pub why: String,
    /// Which snapshots need it.
    pub snapshots: Vec<SnapshotId>,
}

#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub snapshots: u64,
    pub runs: u64,
    /// Live ones.
    pub segments: u64,
    pub bytes_read: u64,
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// The snapshots that need anything that is damaged.
    pub fn concerned(&self) -> BTreeSet<SnapshotId> {
        self.findings.iter().flat_map(|finding| finding.snapshots.iter().copied()).collect()
    }
}

/// Roots, and which of them use a run.
struct Users {
    roots: Vec<Root>,
    of: HashMap<RunId, Vec<(u32, u32)>>,
}

impl Users {
    fn new(roots: Vec<Root>) -> Users {
        let mut of: HashMap<RunId, Vec<(u32, u32)>> = HashMap::new();
        for (index, root) in roots.iter().enumerate() {
            for (at, used) in root.runs.iter().enumerate() {
                of.entry(used.run).or_default().push((index as u32, at as u32));
            }
        }
        Users { roots, of }
    }

    fn uses(&self, run: RunId) -> impl Iterator<Item = (&Root, &crate::record::RunUse)> {
        let users = self.of.get(&run).map_or(&[][..], Vec::as_slice);
        users
            .iter()
            .map(|&(root, at)| (&self.roots[root as usize], &self.roots[root as usize].runs[at as usize]))
    }

    fn need(&self, address: Address, out: &mut BTreeSet<SnapshotId>) {
        out.extend(
            self.uses(address.run)
                .filter(|(_, used)| used.holds(address.sequence))
                .map(|(root, _)| root.known.id),
        );
    }
}

fn finding(name: &str, why: impl std::fmt::Display, snapshots: impl IntoIterator<Item = SnapshotId>) -> Finding {
    let snapshots: BTreeSet<SnapshotId> = snapshots.into_iter().collect();
    Finding { name: name.to_string(), why: why.to_string(), snapshots: snapshots.into_iter().collect() }
}

pub fn check(repository: &Repository, options: &CheckOptions<'_>) -> Result<CheckReport> {
    repository.forget_locations();
    let mut report = CheckReport::default();
    let Roots { read, unreadable } = Roots::load(repository)?;
    report.snapshots = (read.len() + unreadable.len()) as u64;
    for (known, error) in &unreadable {
        report.findings.push(finding(&known.name, error, [known.id]));
    }
    check_config(repository, &read, &mut report)?;
    let certified = repository.certified(&options.trust)?;
    for root in &read {
        if let Err(error) = options.trust.standing(&certified, &root.signer, &root.node, &root.known.name) {
            report.findings.push(finding(&root.known.name, error, [root.known.id]));
        }
    }
    let accept = |run: &crate::record::Signed<crate::record::Run>| {
        let name = name::run(run.body.id);
        options.trust.standing(&certified, &run.signer, &run.body.node, &name).map(|_| ())
    };
    let (mut runs, mut segments) = (0, 0);
    let mut seen = |live: u64| {
        runs += 1;
        segments += live;
    };
    for fault in roots::faults(repository, &read, &accept, &mut seen)? {
        report
            .findings
            .push(finding(&fault.name, fault.why, fault.roots.iter().map(|root| read[*root].known.id)));
    }
    (report.runs, report.segments) = (runs, segments);
    let users = Users::new(read);
    objects::check(repository, &users, &mut report.findings)?;
    if let Some(part) = options.read {
        segments::check(repository, &users, part, options, &mut report)?;
    }
    report.findings.sort();
    report.findings.dedup();
    Ok(report)
}

fn check_config(repository: &Repository, roots: &[Root], report: &mut CheckReport) -> Result<()> {
    let read = crate::store::read_all(repository.store(), name::CONFIG, 1 << 16).and_then(|bytes| parse_config(&bytes));
    let why = match read {
        Ok(config) if config == *repository.config() => return Ok(()),
        Ok(_) => "it changed while the repository was open".to_string(),
        Err(error) if is_damage(&error) => error.to_string(),
        Err(error) => return Err(error),
    };
    report.findings.push(finding(name::CONFIG, why, roots.iter().map(|root| root.known.id)));
    Ok(())
}

/// An error that says something about bytes becomes a finding; others end the check.
fn or_finding<T>(result: Result<T>, name: &str, findings: &mut Vec<Finding>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) if is_damage(&error) => {
            if !findings.iter().any(|known| known.name == name) {
                findings.push(finding(name, error, []));
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
