//! `exporter run`: one export now. It works without any pull-backup: the spool keeps what was captured.

use super::{failure, link_failure};
use crate::announce::announce;
use crate::attempt::Attempts;
use crate::capture::Capture;
use crate::{node, source};
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
use link::membership::Reign;
use recipes::data::Data;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct Run {
    /// The dataset; all of them when none is named.
    dataset: Option<String>,
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
                    news.push(dataset.name.as_str());
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
        announce(&file, &news);
        if failures.is_empty() {
            return Ok(worst);
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

fn open_repository(file: &NodeFile, dataset: &Dataset) -> Result<(Arc<Repository>, PathBuf), Failure> {
    let place = node::repository(&file.node.state, &dataset.name);
    if !place.join(archive::name::CONFIG).exists() {
        make_folder(&place, 0o700).map_err(|error| {
            Failure::failed(format!("cannot make {}: {error}", place.display()))
                .hint("`state` in the node file must be a folder that this user may write")
        })?;
        let store = FolderStore::open(&place).map_err(|error| Failure::failed(format!("cannot open {}: {error}", place.display())))?;
        Repository::create(&store, &file.cluster, &dataset.name).map_err(failure)?;
    }
    let repository = Repository::open_folder(&place, Access::Shared).map_err(failure)?;
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

/// A source with its recipe.
type Prepared<'a> = (&'a Source, Box<dyn Data>);

/// Checks that every source can be captured before anything is written.
fn prepare<'a>(file: &NodeFile, dataset: &'a Dataset) -> Result<Vec<Prepared<'a>>, Failure> {
    let made = dataset
        .sources
        .iter()
        .map(|found| Ok((found, source::data(found, &file.node.state, &dataset.name)?)));
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
    let local = Local::open(&node::local(&file.node.state, &dataset.name)).map_err(failure)?;
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
        advance: Arc::new(move |bytes| bar.advance(bytes)),
    };
    let mut export = Export::begin(repository, local, options).map_err(failure)?;
    for (found, data) in &sources {
        let mut capture = Capture::new(&mut export, &found.name);
        let outcome = data.export(&mut capture);
        if let Some(error) = capture.failure {
            return Err(failure(error));
        }
        outcome.map_err(|error| source::failure(&found.name, error))?;
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
