//! One export of a dataset into the spool: every source is prepared before anything is written, then each is captured in order.
//!
//! It works without any pull-backup: the spool keeps what was captured. Another export of the same dataset is awaited.

use crate::attempt::Attempts;
use crate::cmd::{failure, link_failure};
use crate::{certified, node, spool};
use archive::export::{Clock, Export, ExportOptions, ExportReport};
use archive::local::state::Local;
use archive::repository::{Access, Repository};
use archive::root::Source as RootSource;
use archive::store::{FolderStore, make_folder};
use console::exit::Failure;
use console::human;
use console::node_file::{Dataset, NodeFile, Source};
use console::progress::Progress;
use link::membership::Reign;
use recipes::data::Data;
use sources::capture::Capture;
use sources::recipe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
fn epoch(file: &NodeFile, tail: Option<u64>) -> Result<u64, Failure> {
    if let Some(epoch) = tail {
        return epoch_of_tail(file, epoch);
    }
    match Reign::open(&file.node.state).map_err(link_failure)? {
        None => Ok(0),
        Some(Reign { epoch, active: true, .. }) => Ok(epoch),
        Some(Reign { active: false, .. }) => {
            Err(Failure::refused(format!("{} stands by: it is not the active node of cluster {}", file.node.name, file.cluster))
                .hint("export on the active node; this one takes over with `importer activate`"))
        }
    }
}

/// A node that has no role any more exports only what it wrote in its last reign, and only while nothing runs on it: `importer serve` sees to that.
fn epoch_of_tail(file: &NodeFile, epoch: u64) -> Result<u64, Failure> {
    match Reign::open(&file.node.state).map_err(link_failure)? {
        Some(reign) if reign.lease.is_some() && !reign.active && reign.epoch >= epoch => Ok(epoch),
        _ => Err(Failure::refused(format!("{} has no reign behind it whose tail could be exported", file.node.name))),
    }
}

/// Exports a dataset; into which repository is said with it. How it went is kept for `status`.
pub fn export(file: &NodeFile, dataset: &Dataset, tail: Option<u64>, clock: Clock) -> Result<(ExportReport, PathBuf), Failure> {
    let epoch = epoch(file, tail)?;
    let outcome = capture(file, dataset, epoch, clock.clone());
    let went = outcome.as_ref().map(|(report, _)| report).map_err(ToString::to_string);
    let kept = Attempts::note(&file.node.state, &dataset.name, went, clock()).map_err(link_failure);
    outcome.and_then(|done| kept.map(|()| done))
}

fn capture(file: &NodeFile, dataset: &Dataset, epoch: u64, clock: Clock) -> Result<(ExportReport, PathBuf), Failure> {
    let sources = prepare(file, dataset)?;
    let recipients = dataset.seal.then(|| file.seal.recipients.clone());
    let signer = Arc::new(node::signer(&file.node.state)?);
    let (repository, place) = open_repository(file, dataset)?;
    certified::publish(file, &repository)?;
    if let Some(recipients) = &recipients {
        for recipient in recipients {
            archive::identity::Recipient::parse(recipient).map_err(failure)?;
        }
    }
    let aside = spool::aside(&file.node.state, &dataset.name, &repository, epoch).map_err(failure)?;
    let local = patiently(|| Local::open(&node::local(&file.node.state, &dataset.name)))?;
    let progress = Progress::new(format!("exporting {}", dataset.name), None);
    let bar = progress.clone();
    let options = ExportOptions {
        node: file.node.name.clone(),
        signer,
        recipients,
        epoch,
        above: spool::above(&file.node.state, &dataset.name),
        level: dataset.level,
        cache_bytes: dataset.cache,
        threads: archive::threads(),
        clock,
        sources: sources
            .iter()
            .map(|(found, _)| RootSource { name: found.name.clone(), recipe: found.recipe.clone(), manifest: vec![] })
            .collect(),
        lost: spool::lost(&file.node.state, &dataset.name),
        aside,
        advance: Arc::new(move |bytes| bar.advance(bytes)),
    };
    let mut export = Export::begin(repository, local, options).map_err(failure)?;
    for (found, data) in &sources {
        let at = |path: &[u8]| progress.at(human::text(path));
        let mut capture = Capture::new(&mut export, &found.name, &at);
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
