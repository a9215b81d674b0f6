//! `importer drill`: a restore rehearsed in a scratch place, and what came of it kept for `status`.

use crate::drilled::Drilled;
use crate::import::prove;
use archive::read::open::OpenSnapshot;
use archive::record::EvidenceKind;
use archive::repository::{Access, Repository};
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::node_file::{Dataset, NodeFile};
use console::output::Output;
use console::progress::Progress;
use lookup::Surroundings;
use lookup::cmd::{Chosen, Reading, document};
use lookup::place::Means;
use lookup::show::SnapshotShape;
use recipes::data::Finding;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Rehearses a restore: into a scratch place, compared and asked, and removed again
#[derive(Args, Debug)]
pub struct Drill {
    #[command(flatten)]
    pub reading: Reading,
    /// The dataset, when the node file has several
    #[arg(value_name = "DATASET")]
    pub name: Option<String>,
    /// The newest snapshot captured at or before this: "2026-11-01 13:00", "3 days ago", a date, `latest`, or an id
    #[arg(long, value_name = "TIME", default_value = "latest")]
    pub at: String,
}

#[derive(Serialize)]
struct Shape {
    snapshot: SnapshotShape,
    dataset: String,
    took_seconds: f64,
    entries: u64,
    findings: Vec<FindingShape>,
}

/// What was found, as commands tell it.
#[derive(Serialize)]
pub struct FindingShape {
    source: String,
    what: String,
    hint: Option<String>,
}

impl FindingShape {
    pub fn of((source, finding): &(String, Finding)) -> FindingShape {
        FindingShape { source: source.clone(), what: finding.what.clone(), hint: finding.hint.clone() }
    }

    pub fn line(&self) -> String {
        let hint = self.hint.as_deref().map_or_else(String::new, |hint| format!(" ({hint})"));
        human::text(format!("{}: {}{hint}", self.source, self.what).as_bytes())
    }
}

impl Drill {
    pub fn means(&mut self) -> Means<'_> {
        self.reading.means(self.name.clone())
    }

    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let opened = self.reading.repository()?;
        let dataset = super::dataset(&file, &opened.repository.config().dataset)?;
        let chosen = self.reading.choose(&opened.facts()?, &opened, &self.at, "", surroundings)?;
        let snapshot = self.reading.open(&opened, &chosen)?;
        let began_ms = super::now_ms();
        let outcome = self.rehearse(&snapshot, dataset, &file, &chosen);
        let took_ms = super::now_ms().saturating_sub(began_ms);
        let trouble = outcome.as_ref().err().map(Failure::to_string);
        let kept = self.keep(&file, dataset, &chosen, (began_ms, took_ms), trouble);
        let done = outcome?;
        kept?;
        let findings: Vec<FindingShape> = done.findings.iter().map(FindingShape::of).collect();
        if self.reading.json {
            document(&Shape {
                snapshot: (&chosen.fact).into(),
                dataset: dataset.name.clone(),
                took_seconds: took_ms as f64 / 1000.0,
                entries: done.entries,
                findings,
            })?;
        } else {
            let mut output = Output::stdout();
            for finding in findings {
                output.line(finding.line())?;
            }
            let took = human::duration(Duration::from_millis(took_ms));
            output.line(format_args!("the drill of dataset {} with {} went well, in {took}", dataset.name, chosen.fact.short()))?;
            output.finish()?;
        }
        Ok(lookup::cmd::status(&chosen.unread))
    }

    fn rehearse(
        &self,
        snapshot: &OpenSnapshot<'_>,
        dataset: &Dataset,
        file: &NodeFile,
        chosen: &Chosen,
    ) -> Result<sources::import::Imported, Failure> {
        let total = chosen.fact.snapshot.body.content_bytes;
        let progress = if self.reading.json { Progress::hidden() } else { Progress::new("restoring", Some(total)) };
        let outcome = sources::beside::rehearse(snapshot, dataset, &file.node.state, &|bytes| progress.advance(bytes));
        progress.finish();
        outcome
    }

    /// Writes down how it went, and signs it where there is a mirror to keep that in.
    fn keep(
        &self,
        file: &NodeFile,
        dataset: &Dataset,
        chosen: &Chosen,
        (began_ms, took_ms): (u64, u64),
        trouble: Option<String>,
    ) -> Result<(), Failure> {
        let state = &file.node.state;
        let (known, at_ms) = (&chosen.fact.known, began_ms + took_ms);
        let last = Drilled::open(state, &dataset.name).map_err(super::failure)?.unwrap_or_default();
        let good_ms = if trouble.is_none() { at_ms } else { last.good_ms };
        let drilled = Drilled { snapshot: known.name.clone(), at_ms, took_ms, trouble: trouble.clone(), good_ms };
        drilled.keep(state, &dataset.name).map_err(super::failure)?;
        if let Some(folder) = &self.reading.place.repository {
            let repository = Repository::open_folder(folder, Access::Shared).map_err(sources::import::failure)?;
            let signer = super::signer(file)?;
            let how = (EvidenceKind::Drill, trouble.is_none(), trouble.unwrap_or_default());
            prove(&repository, &file.node.name, &signer, known.id, (began_ms, at_ms), how)?;
        }
        Ok(())
    }
}
