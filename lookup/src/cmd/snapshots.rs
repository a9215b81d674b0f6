//! `snapshots`: what there is, oldest first. Needs no key.

use archive::repository::Known;
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
use crate::open::{Roots, Surroundings};
use crate::place::{Means, Peers, Place};
use crate::show::{self, SnapshotShape, moment};

/// Lists the snapshots of a repository
#[derive(Args, Debug)]
pub struct Snapshots {
    /// The dataset, when the configuration knows several
    #[arg(value_name = "DATASET")]
    pub name: Option<String>,
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
    pub fn means(&mut self) -> Means<'_> {
        let dataset = self.name.clone().or_else(|| self.place.dataset.clone());
        Means { place: &mut self.place, dataset, roots: &mut self.roots, identity: None }
    }

    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let repository = self.place.list()?;
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
            let snapshots = found.iter().map(|fact| SnapshotShape::from(fact).with(fact, &self.place.peers)).collect();
            document(&Shape { repository: config.id.to_string(), cluster, dataset, snapshots, unread })?;
            return Ok(status);
        }
        let mut output = Output::stdout();
        if found.is_empty() && unread.is_empty() {
            tell(format_args!("the repository of dataset {} has no snapshots yet", repository.config().dataset));
        }
        if !found.is_empty() {
            output.line(table(&found, &self.place.peers, surroundings).to_string().trim_end())?;
        }
        output.finish()?;
        for Unread { name, why } in unread {
            tell(format_args!("cannot be read: {name}: {why}"));
        }
        Ok(status)
    }
}

fn table(found: &[Fact], peers: &Peers, surroundings: &Surroundings) -> Table {
    let mut heads = vec![
        "SNAPSHOT",
        "CAPTURED",
        "RECEIVED",
        ">AGE",
        "NODE",
        ">POSITION",
        ">CONTENT",
        ">NEW",
        ">ENTRIES",
        ">RUNS",
        "VERIFIED",
        "SIGNER",
    ];
    // What only a configuration tells.
    let (receivers, holders) = (!peers.receivers.is_empty(), !peers.holders.is_empty());
    heads.extend(receivers.then_some("RECEIVED BY"));
    heads.extend(holders.then_some("NEWEST AT"));
    let mut table = Table::new(&heads);
    let zone = surroundings.now.time_zone();
    for fact in found {
        let body = &fact.snapshot.body;
        let mut row = vec![
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
        ];
        row.extend(receivers.then(|| received_by(fact, peers)));
        row.extend(holders.then(|| newest_at(fact, peers)));
        table.cells(row);
    }
    table
}

/// Who gave the earliest receipt.
fn received_by(fact: &Fact, peers: &Peers) -> String {
    let Some(receipt) = fact.receipt() else { return "-".into() };
    peers
        .receivers
        .get(&receipt.signer)
        .cloned()
        .unwrap_or_else(|| receipt.signer.hex()[..8].to_owned())
}

/// Which hosts have it as their newest, and whether it is imported there.
fn newest_at(fact: &Fact, peers: &Peers) -> String {
    let id = Some(fact.known.id);
    let at = peers.holders.iter().filter(|holder| holder.held == id || holder.imported == id);
    let names: Vec<String> = at
        .map(|holder| format!("{}{}", holder.name, if holder.imported == id { " (imported)" } else { "" }))
        .collect();
    if names.is_empty() { "-".into() } else { names.join(", ") }
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
