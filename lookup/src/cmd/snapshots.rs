//! `snapshots`: what there is, oldest first. Needs no key.

use archive::repository::{Access, Known};
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::output::{Output, tell};
use console::table::Table;
use serde::Serialize;

use super::document;
use crate::choose::Unread;
use crate::fact::{Fact, Facts};
use crate::failure::{failure, line};
use crate::open::{Place, Roots, Surroundings};
use crate::show::{self, SnapshotShape, moment};

/// Lists the snapshots of a repository
#[derive(Args, Debug)]
pub struct Snapshots {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub roots: Roots,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Shape {
    repository: String,
    cluster: String,
    dataset: String,
    snapshots: Vec<SnapshotShape>,
    unread: Vec<Unread>,
}

impl Snapshots {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let repository = self.place.open(Access::Shared)?;
        let facts = Facts::load(&repository, &self.roots.trust()).map_err(failure)?;
        let mut all: Vec<Known> = repository.snapshots().map_err(failure)?;
        all.extend(repository.quarantined().map_err(failure)?);
        let (mut found, mut unread) = (vec![], vec![]);
        for known in &all {
            match facts.of(known) {
                Ok(fact) => found.push(fact),
                Err(error) => unread.push(Unread { name: known.name.clone(), why: line(error) }),
            }
        }
        let status = super::status(&unread);
        if self.json {
            let config = repository.config();
            let (cluster, dataset) = (config.cluster.clone(), config.dataset.clone());
            let snapshots = found.iter().map(SnapshotShape::from).collect();
            document(&Shape { repository: config.id.to_string(), cluster, dataset, snapshots, unread })?;
            return Ok(status);
        }
        let mut output = Output::stdout();
        if found.is_empty() && unread.is_empty() {
            tell(format_args!("the repository of dataset {} has no snapshots yet", repository.config().dataset));
        }
        if !found.is_empty() {
            output.line(table(&found, surroundings).to_string().trim_end())?;
        }
        output.finish()?;
        for Unread { name, why } in unread {
            tell(format_args!("cannot be read: {name}: {why}"));
        }
        Ok(status)
    }
}

fn table(found: &[Fact], surroundings: &Surroundings) -> Table {
    let heads =
        ["SNAPSHOT", "CAPTURED", "RECEIVED", ">AGE", "NODE", ">POSITION", ">CONTENT", ">NEW", ">ENTRIES", ">RUNS", "VERIFIED", "SIGNER"];
    let mut table = Table::new(&heads);
    let zone = surroundings.now.time_zone();
    for fact in found {
        let body = &fact.snapshot.body;
        table.row([
            fact.short(),
            show::time(body.captured_ms, zone),
            fact.received_ms().map_or("-".into(), |ms| show::time(ms, zone)),
            human::age(moment(body.captured_ms), surroundings.moment()),
            body.node.clone(),
            fact.known.at.to_string(),
            human::bytes(body.content_bytes),
            human::bytes(body.stored_bytes),
            human::count(body.entries),
            human::count(body.runs.len() as u64),
            verified(fact, surroundings),
            format!("{}{}", show::standing(fact), if fact.quarantined() { ", in quarantine" } else { "" }),
        ]);
    }
    table
}

/// The newest evidence that it restores, or that it does not.
fn verified(fact: &Fact, surroundings: &Surroundings) -> String {
    let Some(newest) = fact.evidence.first() else { return "-".into() };
    let word = match (newest.body.kind, newest.body.good) {
        (archive::record::EvidenceKind::Import, true) => "imported",
        (archive::record::EvidenceKind::Drill, true) => "drilled",
        (archive::record::EvidenceKind::Import, false) => "import failed",
        (archive::record::EvidenceKind::Drill, false) => "drill failed",
    };
    format!("{word} {}", human::age(moment(newest.body.finished_ms), surroundings.moment()))
}
