//! An export into a folder: the program fills it, then it is captured as the `files` recipe captures folders.
//!
//! What the program wrote is there until the last of its files was opened, since the receiver opens late. Times that lie
//! after the program's start are left out: they say only when the export was, and would make each another.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use super::process::Output;
use super::{Act, Inner};
use crate::Error;
use crate::data::{Body, Contents, Data, Item, Open, Opened, Sink, Stamp, Stop, Time};
use crate::files::{self, Files};
use crate::lock::Lock;

/// The scratch folder, while one export has it for itself. The program has the lock, too, as its standard input.
pub(crate) struct Room {
    lock: Lock,
}

impl Room {
    pub fn take(inner: &Inner) -> Result<Room, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&inner.scratch);
        made.map_err(|error| Error::io("make", &inner.scratch, error))?;
        let lock = Lock::take(&inner.scratch.join("export.lock")).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Error::StillExporting { path: inner.program(Act::Export) },
            _ => Error::io("lock the scratch folder", &inner.scratch, error),
        })?;
        Ok(Room { lock })
    }

    /// Nothing can be read from it.
    pub fn input(&self, inner: &Inner) -> Result<Stdio, Error> {
        let file = self.lock.file().try_clone();
        Ok(file.map_err(|error| Error::io("lock the scratch folder", &inner.scratch, error))?.into())
    }
}

/// A folder that is emptied when nobody needs it any more.
struct Filled {
    folder: PathBuf,
    _room: Room,
}

impl Drop for Filled {
    /// What stays, the next export removes.
    fn drop(&mut self) {
        let _ = remove(&self.folder);
    }
}

pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn export(inner: &Inner, sink: &mut dyn Sink) -> Result<(), Error> {
    let room = Room::take(inner)?;
    let folder = inner.scratch.join("export");
    let failed = |action| {
        let folder = folder.clone();
        move |error| Error::io(action, &folder, error)
    };
    remove(&folder).map_err(failed("empty"))?;
    DirBuilder::new().mode(0o700).create(&folder).map_err(failed("make"))?;
    let input = room.input(inner)?;
    let filled = Arc::new(Filled { folder: folder.clone(), _room: room });
    let found = fs::metadata(&folder).map_err(failed("look at"))?;
    let since = Time { seconds: found.mtime(), nanos: u32::try_from(found.mtime_nsec()).unwrap_or_default() };
    let process = inner.start(Act::Export, Some(&folder), input, Output::Words)?;
    process.run().map_err(inner.failed(Act::Export))?;
    if fs::read_dir(&folder).map_err(failed("read"))?.next().is_none() {
        return Err(inner.failed(Act::Export)(io::Error::other("it wrote nothing into RESILIENT_DIR")));
    }
    let files = Files::new(files::Settings { paths: vec![folder], ..files::Settings::default() })?;
    files.export(&mut Written { sink, filled, since })
}

/// Passes on what was written.
struct Written<'a> {
    sink: &'a mut dyn Sink,
    filled: Arc<Filled>,
    since: Time,
}

fn timeless(time: Time, since: Time) -> Time {
    if time >= since { Time::default() } else { time }
}

impl Sink for Written<'_> {
    /// All of it was written just now.
    fn unchanged(&mut self, _: &[u8], _: &Stamp) -> Result<bool, Stop> {
        Ok(false)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        let Item { path, mut attributes, body, .. } = item;
        attributes.mtime = timeless(attributes.mtime, self.since);
        let body = match body {
            Body::File { len, open } => {
                let later = Later { open, filled: self.filled.clone(), since: self.since };
                Body::File { len, open: Box::new(later) }
            }
            other => other,
        };
        self.sink.item(Item { path, attributes, stamp: None, body })
    }

    fn trouble(&mut self, path: &[u8], error: io::Error) {
        self.sink.trouble(path, error);
    }
}

/// Keeps the folder until it is opened.
struct Later {
    open: Box<dyn Open>,
    filled: Arc<Filled>,
    since: Time,
}

impl Open for Later {
    fn open(self: Box<Self>) -> io::Result<Opened> {
        let Later { open, filled, since } = *self;
        let Opened { contents, mut attributes, mut stamp, len } = open.open()?;
        drop(filled);
        attributes.mtime = timeless(attributes.mtime, since);
        stamp.mtime = timeless(stamp.mtime, since);
        // Its last name goes with the folder, and its ctime with that: what cannot change any more needs no other stamp.
        Ok(Opened { contents: Arc::new(Settled { contents, stamp }), attributes, stamp, len })
    }
}

struct Settled {
    contents: Arc<dyn Contents>,
    stamp: Stamp,
}

impl Contents for Settled {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.contents.read_at(buf, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.contents.next_data(offset)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok(self.stamp)
    }
}
