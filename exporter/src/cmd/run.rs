//! `exporter run`: one export now. It works without any pull-backup: the spool keeps what was captured.

use super::{failure, link_failure};
use crate::announce::announce;
use crate::attempt::Attempts;
use crate::until_pulled::{News, is_served, until_pulled};
use crate::{node, spool};
use archive::entry::display;
use archive::export::{Export, ExportOptions, ExportReport, Outcome};
use archive::local::state::Local;
use archive::repository::{Access, Repository};
use archive::root::Source as RootSource;
use archive::store::{FolderStore, make_folder};
use clap::Args;
use console::exit::{Failure, Status};
use console::human;
use console::node_file::{Dataset, NodeFile, Source};
use console::output::Output;
use console::progress::Progress;
use link::membership::{Membership, Reign};
use link::repositories::{Layout, Repositories};
use recipes::data::Data;
use sources::capture::Capture;
use sources::recipe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct Run {
    /// The dataset; all of them when none is named.
    dataset: Option<String>,
    /// Return only when every pull-backup holds it durably; fail when that takes too long.
    #[arg(long)]
    wait: bool,
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
        let mut worst = Status::Done;
        let mut output = Output::stdout();
        let mut failures = Vec::new();
        let alone = chosen.len() == 1;
        let mut news = Vec::new();
        for dataset in chosen {
            match export(&file, dataset) {
                Ok((report, place)) => {
                    news.push((dataset.name.clone(), name_of(&report.outcome)));
                    if !report.troubles.is_empty() && worst == Status::Done {
                        worst = Status::Partial;
                    }
                    if json {
                        output.line(as_json(dataset, &report, &place))?;
                    } else {
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
        let lacking = until_pulled(file, news, self.limit, now_ms)?;
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

fn open_repository(file: &NodeFile, dataset: &Dataset) -> Result<(Arc<Repository>, PathBuf), Failure> {
    let place = node::repository(&file.node.state, &dataset.name);
    if !place.join(archive::name::CONFIG).exists() {
        make_folder(&place, 0o700).map_err(|error| {
            Failure::failed(format!("cannot make {}: {error}", place.display()))
                .hint("`state` in the node file must be a folder that this user may write")
        })?;
        let store = FolderStore::open(&place).map_err(|error| Failure::failed(format!("cannot open {}: {error}", place.display())))?;
        match Repository::create(&store, &file.cluster, &dataset.name) {
            // Another export was first.
            Ok(_) | Err(archive::Error::Conflict { .. }) => {}
            Err(error) => return Err(failure(error)),
        }
    }
    let repository = patiently(|| Repository::open_folder(&place, Access::Shared))?;
    let config = repository.config();
    if config.cluster != file.cluster || config.dataset != dataset.name {
        return Err(Failure::refused(format!(
            "{} belongs to dataset {} of cluster {}, not to dataset {} of cluster {}",
            place.display(),
            config.dataset,
            config.cluster,
            dataset.name,
            file.cluster
        ))
        .hint("put the folder where it belongs, or give the node another state folder"));
    }
    Ok((Arc::new(repository), place))
}

/// How often, and how long apart, it is tried again where another export of the dataset is at work, or the spool is being tidied.
const TRIES: u32 = 3000;
const PAUSE: Duration = Duration::from_millis(200);
/// After so many tries the wait is told.
const TELL_AT: u32 = 10;

fn patiently<T>(mut attempt: impl FnMut() -> archive::Result<T>) -> Result<T, Failure> {
    for tried in 1..TRIES {
        match attempt() {
            Err(error @ archive::Error::Busy { .. }) => {
                if tried == TELL_AT {
                    console::output::tell(format!("waiting: {error}"));
                }
                #[expect(clippy::disallowed_methods, reason = "another process holds a lock, and nothing tells when it gives it back")]
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome.map_err(failure),
        }
    }
    attempt().map_err(failure)
}

/// A source with its recipe.
type Prepared<'a> = (&'a Source, Box<dyn Data>);

/// Checks that every source can be captured before anything is written.
fn prepare<'a>(file: &NodeFile, dataset: &'a Dataset) -> Result<Vec<Prepared<'a>>, Failure> {
    let made = dataset
        .sources
        .iter()
        .map(|found| Ok((found, recipe::data(found, &file.node.state, &dataset.name)?)));
    let mut sources: Vec<Prepared<'_>> = made.collect::<Result<_, Failure>>()?;
    sources.sort_by(|a, b| a.0.name.as_bytes().cmp(b.0.name.as_bytes()));
    Ok(sources)
}

/// The number of the reign that this node exports in: none was ever given where there are no roles.
fn epoch(file: &NodeFile) -> Result<u64, Failure> {
    match Reign::open(&file.node.state).map_err(link_failure)? {
        None => Ok(0),
        Some(Reign { epoch, active: true }) => Ok(epoch),
        Some(Reign { active: false, .. }) => {
            Err(Failure::refused(format!("{} stands by: it is not the active node of cluster {}", file.node.name, file.cluster))
                .hint("export on the active node; this one takes over with `importer activate`"))
        }
    }
}

/// One export, and how it went kept for `status`.
pub(crate) fn export(file: &NodeFile, dataset: &Dataset) -> Result<(ExportReport, PathBuf), Failure> {
    let epoch = epoch(file)?;
    let outcome = capture(file, dataset, epoch);
    let went = outcome.as_ref().map(|(report, _)| report).map_err(ToString::to_string);
    let kept = Attempts::note(&file.node.state, &dataset.name, went, now_ms()).map_err(link_failure);
    outcome.and_then(|done| kept.map(|()| done))
}

fn capture(file: &NodeFile, dataset: &Dataset, epoch: u64) -> Result<(ExportReport, PathBuf), Failure> {
    let sources = prepare(file, dataset)?;
    let recipients = dataset.seal.then(|| file.seal.recipients.clone());
    let signer = Arc::new(node::signer(&file.node.state)?);
    let (repository, place) = open_repository(file, dataset)?;
    if let Some(recipients) = &recipients {
        for recipient in recipients {
            archive::identity::Recipient::parse(recipient).map_err(failure)?;
        }
    }
    let local = patiently(|| Local::open(&node::local(&file.node.state, &dataset.name)))?;
    let progress = Progress::new(format!("exporting {}", dataset.name), None);
    let bar = progress.clone();
    let options = ExportOptions {
        node: file.node.name.clone(),
        signer,
        recipients,
        epoch,
        above: 0,
        level: dataset.level,
        cache_bytes: dataset.cache,
        threads: archive::threads(),
        clock: Arc::new(now_ms),
        sources: sources
            .iter()
            .map(|(found, _)| RootSource { name: found.name.clone(), recipe: found.recipe.clone(), manifest: vec![] })
            .collect(),
        lost: spool::lost(&file.node.state, &dataset.name),
        advance: Arc::new(move |bytes| bar.advance(bytes)),
    };
    let mut export = Export::begin(repository, local, options).map_err(failure)?;
    for (found, data) in &sources {
        let mut capture = Capture::new(&mut export, &found.name);
        let outcome = data.export(&mut capture);
        if let Some(error) = capture.failure {
            return Err(failure(error));
        }
        outcome.map_err(|error| recipe::failure(&found.name, error))?;
    }
    let report = export.finish().map_err(failure)?;
    progress.finish();
    Ok((report, place))
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
        if dataset.seal {
            output.line("  without the identity of one of the recipients nothing can be restored: keep it elsewhere")?;
        }
    }
    let _ = file;
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
