//! An import by a program, and what a later run makes of one that was cut short.
//!
//! In the scratch folder: `import/new` while an import is under way, `import/last` with what was imported last, and
//! `import/before` with what was imported before that. `running` in `new` says that the importer was started on it: then the
//! data may be anything, and the next import first runs the importer on it again. A rollback is an import of `before`.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use super::capture::remove;
use super::process::Output;
use super::{Act, Inner, STREAM};
use crate::Error;
use crate::data::{Data, Finding, Item, Level, Mode, Place, Sink, Staging, Stamp, Stop};
use crate::files::{self, Files};
use crate::lock::Lock;

struct Import {
    inner: Arc<Inner>,
    folder: PathBuf,
    places: Vec<Place>,
    findings: Vec<Finding>,
    /// Whether what lies in `new` is this import's own. Before, another importer may be at work on it.
    own: bool,
    /// The importer has it, too, as its standard input.
    lock: Lock,
}

const RUNNING: &str = "running";

pub(crate) fn stage(inner: &Arc<Inner>) -> Result<Box<dyn Staging>, Error> {
    let import = begin(inner)?;
    let failed = |error| Error::io("prepare an import in", &import.folder, error);
    make(&import.at("new").join("tree")).map_err(failed)?;
    Ok(Box::new(import))
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn begin(inner: &Arc<Inner>) -> Result<Import, Error> {
    let folder = inner.scratch.join("import");
    make(&folder).map_err(|error| Error::io("make", &folder, error))?;
    let lock = Lock::take(&inner.scratch.join("import.lock")).map_err(|error| busy(inner, &folder, error))?;
    let places = vec![Place { prefix: Vec::new(), folder: folder.join("new/tree"), mode: Mode::Switch }];
    let mut import = Import { inner: inner.clone(), folder, places, findings: Vec::new(), own: false, lock };
    import.recover()?;
    import.own = true;
    Ok(import)
}

fn busy(inner: &Inner, folder: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => Error::Busy { path: inner.program(Act::Import) },
        _ => Error::io("lock", folder, error),
    }
}

impl Import {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> Error + use<> {
        let folder = self.folder.clone();
        move |error| Error::io(action, &folder, error)
    }

    /// Finishes an import that was cut short. One that cannot be finished is given up: another is about to come.
    fn recover(&mut self) -> Result<(), Error> {
        let new = self.at("new");
        if new.join(RUNNING).exists() {
            match self.run() {
                Ok(()) => self.findings.push(Finding::new(Level::Note, "an interrupted import was finished")),
                Err(error @ Error::Busy { .. }) => return Err(error),
                Err(error) => {
                    let source = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
                    self.findings
                        .push(Finding::new(Level::Warning, format!("an interrupted import could not be finished: {error}{source}")));
                }
            }
        }
        remove(&new).map_err(self.failed("clear up after an interrupted import in"))
    }

    /// Runs the importer on what arrived, and keeps that.
    fn run(&mut self) -> Result<(), Error> {
        let tree = self.at("new").join("tree");
        let (folder, input, _locked) = self.input(&tree)?;
        let before = mark(&tree)?;
        File::create(self.at("new").join(RUNNING))
            .and_then(|running| running.sync_all())
            .and_then(|()| Ok(rustix::fs::syncfs(File::open(&self.folder)?)?))
            .map_err(self.failed("prepare an import in"))?;
        let process = self.inner.start(Act::Import, folder.as_deref(), input, Output::Words)?;
        process.run().map_err(self.inner.failed(Act::Import))?;
        if mark(&tree)? != before {
            let what = format!("{} changed what it was given: it is not kept", self.inner.program(Act::Import).display());
            self.findings
                .push(Finding::new(Level::Warning, what).hint("a rollback will go back further, or not at all"));
            return remove(&self.at("new")).map_err(self.failed("clear up in"));
        }
        self.keep().map_err(self.failed("keep what was imported in"))
    }

    /// The folder to tell, the standard input, and what keeps that locked.
    fn input(&self, tree: &Path) -> Result<(Option<PathBuf>, Stdio, Option<Lock>), Error> {
        let refuse = |reason: &str| Error::Arrived { target: self.inner.program(Act::Import), reason: reason.into() };
        if !self.inner.stream {
            if fs::read_dir(tree).map_err(self.failed("read"))?.next().is_none() {
                return Err(refuse("is nothing at all"));
            }
            let input = self.lock.file().try_clone().map_err(self.failed("lock"))?;
            return Ok((Some(tree.to_path_buf()), input.into(), None));
        }
        let path = tree.join(std::ffi::OsStr::from_bytes(STREAM));
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            return Err(refuse("holds no stream"));
        }
        let file = File::open(&path).map_err(self.failed("open the stream in"))?;
        let lock = Lock::on(file).map_err(|error| busy(&self.inner, &self.folder, error))?;
        let input = lock.file().try_clone().map_err(self.failed("lock"))?;
        Ok((None, input.into(), Some(lock)))
    }

    /// The last one becomes the one before, this one the last.
    fn keep(&self) -> io::Result<()> {
        let (new, last, before) = (self.at("new"), self.at("last"), self.at("before"));
        // Missing when this was cut short between the two renames: then `before` is in its place already.
        if last.exists() {
            remove(&before)?;
            fs::rename(&last, &before)?;
        }
        fs::rename(&new, &last)?;
        fs::remove_file(last.join(RUNNING))?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Staging for Import {
    fn places(&self) -> &[Place] {
        &self.places
    }

    fn commit(mut self: Box<Self>, _: &mut dyn FnMut(&[u8]) -> bool) -> Result<Vec<Finding>, Error> {
        self.run()?;
        Ok(std::mem::take(&mut self.findings))
    }
}

impl Drop for Import {
    /// What was not imported goes. That it fails is no worse than a kill.
    fn drop(&mut self) {
        if self.own {
            let _ = remove(&self.at("new"));
        }
    }
}

pub(crate) fn rollback(inner: &Arc<Inner>) -> Result<Vec<Finding>, Error> {
    let mut import = begin(inner)?;
    let (new, before) = (import.at("new"), import.at("before"));
    if !before.exists() {
        let reason = "nothing is kept from before the last import".into();
        return Err(Error::TakeBack { path: inner.program(Act::Import), reason });
    }
    fs::rename(&before, &new).map_err(import.failed("take back in"))?;
    if let Err(error) = import.run() {
        if new.exists() && !before.exists() {
            let _ = fs::remove_file(new.join(RUNNING));
            fs::rename(&new, &before).map_err(import.failed("take back in"))?;
        }
        return Err(error);
    }
    Ok(std::mem::take(&mut import.findings))
}

/// What a check says of imports.
pub(crate) fn check(inner: &Inner) -> Vec<Finding> {
    if !inner.scratch.join("import/new").join(RUNNING).exists() {
        return Vec::new();
    }
    let what = format!("an import by {} did not end", inner.program(Act::Import).display());
    vec![Finding::new(Level::Warning, what).hint("import again: that finishes it first")]
}

/// A number that changes with whatever is changed below a folder.
fn mark(folder: &Path) -> Result<u64, Error> {
    let mut marked = Marked(DefaultHasher::new());
    Files::new(files::Settings { paths: vec![folder.to_path_buf()], ..files::Settings::default() })?.export(&mut marked)?;
    Ok(marked.0.finish())
}

struct Marked(DefaultHasher);

impl Sink for Marked {
    /// Nothing needs to be opened for it.
    fn unchanged(&mut self, path: &[u8], stamp: &Stamp) -> Result<bool, Stop> {
        std::hash::Hash::hash(&(path, stamp), &mut self.0);
        Ok(true)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        std::hash::Hash::hash(&(item.path, item.stamp), &mut self.0);
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], _: io::Error) {
        self.0.write(path);
    }
}
