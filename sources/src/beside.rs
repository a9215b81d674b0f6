//! A snapshot used without becoming the data: rehearsed in a scratch place, to know that it can be; or a part of it brought back under another name.
//!
//! Everything is written into a folder of its own, each file checked against its digest; databases are then loaded beside those in place by their recipe. The folder
//! goes in any case, and what a killed run left there goes with the next.

use crate::import::{Imported, fill, matched};
use crate::recipe;
use archive::read::open::OpenSnapshot;
use console::exit::Failure;
use console::node_file::{Dataset, Source};
use recipes::data::{Data, Finding, Level, Mode, Part, Place, To};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The folder, for one user at a time.
struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    fn open(state: &Path, dataset: &str) -> Result<Scratch, Failure> {
        let above = state.join("datasets").join(dataset);
        let path = above.join("beside");
        let failed = |error: io::Error| Failure::failed(format!("cannot make {}: {error}", path.display()));
        fs::create_dir_all(&above).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(above.join("beside.lock"))
            .map_err(failed)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::failed(format!("dataset {dataset}: another drill or part restore is at work")).hint("wait until it ends"));
        }
        let scratch = Scratch { path, _lock: lock };
        scratch
            .clear()
            .map_err(|error| Failure::failed(format!("cannot clear {}: {error}", scratch.path.display())))?;
        Ok(scratch)
    }

    fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A folder for a source, for this user alone.
    fn folder(&self, source: &str) -> Result<PathBuf, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = self.path.join(source);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| Failure::failed(format!("cannot make {}: {error}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is removed by the next.
        let _ = self.clear();
    }
}

/// Restores all sources of a snapshot into a scratch place, loads databases, compares, asks what the node file says, and removes all of it.
pub fn rehearse(snapshot: &OpenSnapshot<'_>, dataset: &Dataset, state: &Path, advance: &(dyn Fn(u64) + Sync)) -> Result<Imported, Failure> {
    let scratch = Scratch::open(state, &dataset.name)?;
    let mut done = Imported::default();
    for matched in matched(snapshot, dataset, state, &mut done)? {
        let source = matched.source;
        let folder = scratch.folder(&source.name)?;
        let before = done.entries;
        fill(snapshot, &source.name, &whole(folder.clone()), None, advance, &mut done)?;
        let questions = recipe::questions(source);
        let found = match (matched.data.served(), source.recipe.as_str()) {
            (Some(served), _) => served.rehearse(&folder, questions),
            (None, "sqlite") => recipes::sqlite::rehearse(&folder, questions),
            (None, _) => {
                let what = format!("{} entries were restored and compared with their digests", done.entries - before);
                Ok(vec![Finding::new(Level::Note, what)])
            }
        };
        let found = found.map_err(|error| recipe::failure(&source.name, error))?;
        done.findings.extend(found.into_iter().map(|finding| (source.name.clone(), finding)));
        scratch
            .clear()
            .map_err(|error| Failure::failed(format!("cannot clear {}: {error}", scratch.path.display())))?;
    }
    Ok(done)
}

fn whole(folder: PathBuf) -> Place {
    Place { prefix: vec![], folder, mode: Mode::Switch }
}

/// Brings a part of a source's databases back; the source is the one that has databases, where it is not named.
pub fn bring(
    snapshot: &OpenSnapshot<'_>,
    dataset: &Dataset,
    state: &Path,
    source: Option<&str>,
    part: &Part,
    to: To<'_>,
) -> Result<(String, Vec<Finding>), Failure> {
    let (source, data) = with_databases(dataset, state, source)?;
    let served = data.served().ok_or_else(|| no_databases(dataset))?;
    let scratch = Scratch::open(state, &dataset.name)?;
    let folder = scratch.folder(&source.name)?;
    let mut done = Imported::default();
    let mut write = |prefix: Vec<u8>| {
        let place = Place { prefix, folder: folder.clone(), mode: Mode::Switch };
        fill(snapshot, &source.name, &place, None, &|_| (), &mut done)
    };
    write(b"manifest.json".to_vec())?;
    let failed = |error| recipe::failure(&source.name, error);
    for path in served.needs(&folder, part).map_err(failed)? {
        write(path)?;
    }
    let found = served.bring(&folder, part, to).map_err(failed)?;
    Ok((source.name.clone(), found))
}

fn no_databases(dataset: &Dataset) -> Failure {
    Failure::usage(format!("no source of dataset {} has databases of a server", dataset.name))
        .hint("files and SQLite databases are restored with --path and --to")
}

fn with_databases<'a>(dataset: &'a Dataset, state: &Path, wanted: Option<&str>) -> Result<(&'a Source, Box<dyn Data>), Failure> {
    let mut found = Vec::new();
    for source in dataset.sources.iter().filter(|source| wanted.is_none_or(|wanted| source.name == wanted)) {
        let data = recipe::data(source, state, &dataset.name)?;
        if data.served().is_some() {
            found.push((source, data));
        }
    }
    match found.len() {
        0 => Err(no_databases(dataset)),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let names: Vec<&str> = found.iter().map(|(source, _)| source.name.as_str()).collect();
            Err(Failure::usage(format!("several sources of dataset {} have databases", dataset.name))
                .hint(format!("name one with --source: {}", names.join(", "))))
        }
    }
}
