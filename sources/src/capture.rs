//! A recipe's items as the archive's: the two do not know each other.

use archive::entry;
use archive::export::{Export, item};
use recipes::data;
use std::io;
use std::sync::Arc;

/// Hands what a recipe finds to an export, under the name of its source.
pub struct Capture<'a> {
    export: &'a mut Export,
    source: Vec<u8>,
    /// Told what is about to be streamed: a database's tables, one after the other.
    at: &'a dyn Fn(&[u8]),
    /// Why the archive stopped the recipe.
    pub failure: Option<archive::Error>,
}

fn time(time: data::Time) -> entry::Time {
    entry::Time { seconds: time.seconds, nanos: time.nanos }
}

fn stamp(stamp: &data::Stamp) -> item::Stamp {
    item::Stamp {
        device: stamp.device,
        inode: stamp.inode,
        size: stamp.size,
        mtime: time(stamp.mtime),
        ctime: time(stamp.ctime),
    }
}

fn attributes(attributes: data::Attributes) -> entry::Attributes {
    let data::Attributes { mode, uid, gid, mtime, xattrs } = attributes;
    entry::Attributes { mode, uid, gid, mtime: time(mtime), xattrs }
}

struct Contents(Arc<dyn data::Contents>);

impl item::Contents for Contents {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.0.next_data(offset)
    }

    fn stamp(&self) -> io::Result<Option<item::Stamp>> {
        self.0.stamp().map(|found| Some(stamp(&found)))
    }
}

fn open(open: Box<dyn data::Open>) -> item::Open {
    Box::new(move || {
        let data::Opened { contents, attributes: found, stamp: at, len } = open.open()?;
        let contents = Arc::new(Contents(contents)) as Arc<dyn item::Contents>;
        Ok(item::Opened { contents, attributes: attributes(found), stamp: Some(stamp(&at)), len })
    })
}

impl<'a> Capture<'a> {
    pub fn new(export: &'a mut Export, source: &str, at: &'a dyn Fn(&[u8])) -> Self {
        Capture { export, source: source.as_bytes().to_vec(), at, failure: None }
    }

    fn path(&self, path: &[u8]) -> Vec<u8> {
        if path.is_empty() { self.source.clone() } else { [&self.source[..], b"/", path].concat() }
    }

    fn stop<T>(&mut self, result: archive::Result<T>) -> Result<T, data::Stop> {
        result.map_err(|error| {
            self.failure = Some(error);
            data::Stop
        })
    }
}

impl data::Sink for Capture<'_> {
    fn unchanged(&mut self, path: &[u8], found: &data::Stamp) -> Result<bool, data::Stop> {
        let path = self.path(path);
        let kept = self.export.keep(&path, &stamp(found));
        self.stop(kept)
    }

    fn item(&mut self, item: data::Item) -> Result<(), data::Stop> {
        let body = match item.body {
            data::Body::Folder => item::Body::Folder,
            data::Body::File { len, open: later } => item::Body::File { len, open: open(later) },
            data::Body::Stream(stream) => {
                (self.at)(&item.path);
                item::Body::Stream(stream)
            }
            data::Body::Symlink(to) => item::Body::Symlink(to),
            data::Body::HardLink(to) => item::Body::HardLink(self.path(&to)),
            data::Body::Fifo => item::Body::Fifo,
            data::Body::CharDevice { major, minor } => item::Body::CharDevice { major, minor },
            data::Body::BlockDevice { major, minor } => item::Body::BlockDevice { major, minor },
        };
        let path = self.path(&item.path);
        let added =
            self.export
                .add(item::Item { path, attributes: attributes(item.attributes), stamp: item.stamp.as_ref().map(stamp), body });
        self.stop(added)
    }

    fn trouble(&mut self, path: &[u8], error: io::Error) {
        let path = self.path(path);
        self.export.trouble(&path, &error.to_string());
    }
}
