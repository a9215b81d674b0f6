//! `exporter run`: one export now. Where no daemon serves the spool, it does so itself until what it exported is held.

use super::link_failure;
use crate::announce::announce;
use crate::export::export;
use crate::until_pulled::{News, is_served, until_pulled};
use crate::{certified, spool};
use archive::entry::display;
use archive::export::{ExportReport, Outcome};
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::node_file::{Dataset, NodeFile};
use console::output::Output;
use link::membership::Membership;
use link::repositories::{Layout, Repositories};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Run {
    /// The dataset; all of them when none is named.
    dataset: Option<String>,
    /// Return only when every pull-backup holds it durably; fail when that takes too long.
    #[arg(long)]
    wait: bool,
    /// With --wait: of several pull-backups, only the one that decides who is active; `importer serve` asks for it.
    #[arg(long, requires = "wait", hide = true)]
    arbiter: bool,
    /// Say nothing when all went well, as a line of cron's should.
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
    /// What this node wrote in a reign of its own that is over; `importer serve` orders it.
    #[arg(long, value_name = "EPOCH", hide = true)]
    tail: Option<u64>,
    /// How long pull-backups are waited for: with --wait, and where no daemon serves the spool.
    #[arg(long = "for", value_name = "D", default_value = "10m", value_parser = console::quantity::duration)]
    limit: Duration,
}

/// The clock that this command reads; everything below gets it as an argument.
pub(crate) fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a command is where the clock is read")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Run {
    pub fn run(self, config: &Path, json: bool) -> Result<Status, Failure> {
        let file = NodeFile::open(config)?;
        let chosen: Vec<&Dataset> = match &self.dataset {
            None => file.datasets.iter().collect(),
            Some(name) => vec![file.dataset(name).ok_or_else(|| {
                let known: Vec<&str> = file.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
                Failure::usage(format!("{} has no dataset {name}", config.display())).hint(format!("it has: {}", known.join(", ")))
            })?],
        };
        if let Some(warning) = certified::warning(&file) {
            console::output::tell(warning);
        }
        let mut worst = Status::Done;
        let mut output = Output::stdout();
        let mut failures = Vec::new();
        let alone = chosen.len() == 1;
        let mut news = Vec::new();
        for dataset in chosen {
            match export(&file, dataset, self.tail, Arc::new(now_ms)) {
                Ok((report, place)) => {
                    news.push((dataset.name.clone(), name_of(&report.outcome)));
                    if !report.troubles.is_empty() && worst == Status::Done {
                        worst = Status::Partial;
                    }
                    if json {
                        output.line(as_json(dataset, &report, &place))?;
                    } else if !self.quiet || !report.troubles.is_empty() || !report.torn.is_empty() {
                        print(&mut output, &file, dataset, &report, &place)?;
                    }
                }
                Err(failure) if alone => return Err(failure),
                Err(failure) => failures.push((dataset.name.clone(), failure)),
            }
        }
        output.finish()?;
        let held = self.hand_over(&file, &news);
        if !is_served(&file)? {
            let exported = file.datasets.iter().filter(|dataset| news.iter().any(|(name, _)| *name == dataset.name));
            exported.for_each(|dataset| tidy(&file, dataset));
        }
        if failures.is_empty() {
            return held.map(|()| worst);
        }
        // Every dataset had its turn; each failure is told, the first decides the status.
        let mut failures = failures.into_iter();
        let (_, first) = failures.next().expect("there is one");
        for (name, failure) in failures {
            console::output::tell(format!("error: dataset {name}: {failure}"));
        }
        Err(first)
    }
}

impl Run {
    /// Tells pull-backups what is new; where nobody else serves the spool, or when asked to, waits until they hold it.
    fn hand_over(&self, file: &NodeFile, news: &[News]) -> Result<(), Failure> {
        let joined = Membership::open(&file.node.state).map_err(link_failure)?.pull_backups;
        if news.is_empty() || !joined.iter().any(|known| known.cluster == file.cluster) {
            return match self.wait {
                true if !news.is_empty() => {
                    Err(Failure::failed("this node has joined no pull-backup, so nobody will hold what was exported")
                        .hint("invite it there with `pull-backup invite`, and join here with `exporter join LINE`"))
                }
                _ => Ok(()),
            };
        }
        if !self.wait && is_served(file)? {
            let datasets: Vec<&str> = news.iter().map(|(dataset, _)| dataset.as_str()).collect();
            announce(file, &datasets);
            return Ok(());
        }
        // One that this node never joined is no reason to wait for nobody.
        let decides = file
            .arbiter()
            .filter(|address| self.arbiter && joined.iter().any(|known| known.address == **address));
        let lacking = until_pulled(file, news, decides, self.limit, now_ms)?;
        match lacking.split_first() {
            None => Ok(()),
            Some((first, _)) if self.wait => Err(Failure::failed(first.clone())
                .hint("is that pull-backup running, and can it reach this host? What was exported is kept here")),
            Some(_) => {
                lacking
                    .iter()
                    .for_each(|line| console::output::tell(format!("warning: {line}; it is kept here until then")));
                Ok(())
            }
        }
    }
}

/// Drops from the spool what everybody holds, where no daemon does. Whatever stands against it is no failure of the export.
fn tidy(file: &NodeFile, dataset: &Dataset) {
    let layout = Layout::Node { state: file.node.state.clone(), cluster: file.cluster.clone() };
    let repositories = Repositories::new(layout, Arc::new(now_ms));
    if let Err(error) = spool::tidy(file, dataset, &repositories, now_ms()) {
        console::output::tell(format!("warning: dataset {}: the spool was not tidied: {error}", dataset.name));
    }
}

fn name_of(outcome: &Outcome) -> String {
    let (Outcome::Snapshot { id, at } | Outcome::Unchanged { id, at }) = *outcome;
    archive::name::snapshot(at, id)
}

fn print(output: &mut Output, file: &NodeFile, dataset: &Dataset, report: &ExportReport, place: &Path) -> Result<(), Failure> {
    let (id, at, changed) = match report.outcome {
        Outcome::Snapshot { id, at } => (id, at, true),
        Outcome::Unchanged { id, at } => (id, at, false),
    };
    let short = &id.to_string()[..8];
    let content = format!("{} entries, {}", human::count(report.entries), human::bytes(report.content_bytes));
    if changed {
        output.line(format_args!(
            "{}: snapshot {short} ({at}): {content}, {} read, {} new",
            dataset.name,
            human::bytes(report.read_bytes),
            human::bytes(report.stored_bytes)
        ))?;
    } else {
        output.line(format_args!("{}: unchanged since snapshot {short} ({at}): {content}", dataset.name))?;
    }
    for path in &report.torn {
        output.line(format_args!("  changed while it was read, may be a mixture: {}", display(path)))?;
    }
    if !report.incremental {
        let identity = if dataset.seal { " --identity FILE" } else { "" };
        output.line(format_args!(
            "  restore it with: pull-backup restore --repository {} --at {short} --to DIR{identity}",
            place.display()
        ))?;
        let joined = link::membership::Membership::open(&file.node.state).unwrap_or_default().pull_backups;
        match joined.iter().any(|known| known.cluster == file.cluster) {
            true => output.line(format_args!(
                "  and at the pull-backup, once it was fetched: pull-backup restore {}/{} --at {short} --to DIR{identity}",
                file.cluster, dataset.name
            ))?,
            false => output.line("  it is on this host alone; next, on the host that is to keep the history: pull-backup init")?,
        }
        if dataset.seal {
            output.line("  without the identity of one of the recipients nothing can be restored: keep it elsewhere")?;
        }
    }
    for trouble in &report.troubles {
        console::output::tell(format!("warning: not captured: {}: {}", display(&trouble.path), trouble.why));
    }
    Ok(())
}

fn as_json(dataset: &Dataset, report: &ExportReport, place: &Path) -> String {
    let (id, at, changed) = match report.outcome {
        Outcome::Snapshot { id, at } => (id, at, true),
        Outcome::Unchanged { id, at } => (id, at, false),
    };
    let troubles: Vec<_> = report
        .troubles
        .iter()
        .map(|trouble| serde_json::json!({ "path": display(&trouble.path), "why": trouble.why }))
        .collect();
    let torn: Vec<_> = report.torn.iter().map(|path| display(path)).collect();
    serde_json::json!({
        "dataset": dataset.name,
        "repository": place.display().to_string(),
        "snapshot": id.to_string(),
        "epoch": at.epoch,
        "sequence": at.sequence,
        "changed": changed,
        "entries": report.entries,
        "content_bytes": report.content_bytes,
        "read_bytes": report.read_bytes,
        "stored_bytes": report.stored_bytes,
        "runs": report.runs_used,
        "incremental": report.incremental,
        "not_captured": troubles,
        "torn": torn,
    })
    .to_string()
}
