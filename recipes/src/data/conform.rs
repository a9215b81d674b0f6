//! What every implementation of `Data` must do, as one suite that its tests call.
//!
//! A subject says how to bring the thing to a known content and how to read it. The suite exports it, writes what came
//! into staging places, commits, and compares. It panics at the first thing that does not hold, as tests do.

mod tree;

use std::cell::RefCell;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::{Attributes, Body, Data, Item, Mode, Place, Sink, Stamp, Stop, compare_paths};
pub use tree::write_tree;

/// One kind of data under test.
pub trait Subject {
    /// The recipe for the thing that is kept at `place`, a path in a fresh folder, unique for each thing.
    fn data(&self, place: &Path) -> Box<dyn Data>;

    /// Brings the thing at `place` to a content; makes it if need be. Content 0 is the empty one; 1 and 2 differ, and
    /// each has something that the other has not.
    fn fill(&self, place: &Path, content: u32);

    /// All that matters of the thing, so that equal things read equal.
    fn read(&self, place: &Path) -> Vec<u8>;

    /// Makes entries of these names, where the thing can have any names: else false.
    fn names(&self, place: &Path, names: &[&[u8]]) -> bool;
}

/// Ends what goes on beside a test, also when the test fails: a thread that is waited for would go on for ever.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An item as it was received, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub path: Vec<u8>,
    pub attributes: Attributes,
    pub stamp: Option<Stamp>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

/// A sink that keeps everything.
#[derive(Debug, Default)]
pub struct Collect {
    pub taken: Vec<Taken>,
    pub troubles: Vec<(Vec<u8>, String)>,
    /// What it says of every path that it is asked about.
    pub unchanged: bool,
    pub asked: Vec<(Vec<u8>, Stamp)>,
    /// Stops at this many items.
    pub most: Option<usize>,
}

impl Collect {
    pub fn of(data: &dyn Data) -> Collect {
        let mut sink = Collect::default();
        data.export(&mut sink).expect("the export succeeds");
        sink
    }

    pub fn get(&self, path: &[u8]) -> Option<&Taken> {
        self.taken.iter().find(|taken| taken.path == path)
    }

    pub fn paths(&self) -> Vec<&[u8]> {
        self.taken.iter().map(|taken| taken.path.as_slice()).collect()
    }
}

impl Sink for Collect {
    fn unchanged(&mut self, path: &[u8], stamp: &Stamp) -> Result<bool, Stop> {
        self.asked.push((path.to_vec(), *stamp));
        Ok(self.unchanged)
    }

    fn item(&mut self, item: Item) -> Result<(), Stop> {
        if self.most.is_some_and(|most| self.taken.len() >= most) {
            return Err(Stop);
        }
        let Item { path, mut attributes, stamp, body } = item;
        let kind = match body {
            Body::Folder => Kind::Folder,
            Body::Symlink(to) => Kind::Symlink(to),
            Body::HardLink(to) => Kind::HardLink(to),
            Body::Fifo => Kind::Fifo,
            Body::CharDevice { major, minor } => Kind::CharDevice(major, minor),
            Body::BlockDevice { major, minor } => Kind::BlockDevice(major, minor),
            Body::Stream(mut reader) => {
                let mut content = Vec::new();
                reader.read_to_end(&mut content).expect("the stream can be read");
                Kind::File(content)
            }
            Body::File { open, .. } => match open.open() {
                Ok(opened) => {
                    attributes.xattrs = opened.attributes.xattrs;
                    Kind::File(tree::read_all(&*opened.contents))
                }
                Err(error) => {
                    self.trouble(&path, error);
                    return Ok(());
                }
            },
        };
        self.taken.push(Taken { path, attributes, stamp, kind });
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], error: std::io::Error) {
        self.troubles.push((path.to_vec(), error.to_string()));
    }
}

/// Checks everything that a `Data` promises. `scratch` is an empty folder.
pub fn suite(subject: &dyn Subject, scratch: &Path) {
    exports_in_order_and_alike(subject, &scratch.join("order"));
    exports_the_empty(subject, &scratch.join("empty"));
    honours_unchanged(subject, &scratch.join("unchanged"));
    stops_when_told(subject, &scratch.join("stop"));
    exports_names_as_bytes(subject, &scratch.join("names"), &scratch.join("names-copy"));
    imports_what_was_exported(subject, &scratch.join("from"), &scratch.join("to"));
    leaves_the_last_good(subject, &scratch.join("good"), &scratch.join("fresh"));
    refuses_what_is_missing(subject, &scratch.join("nowhere"));
}

fn exports_in_order_and_alike(subject: &dyn Subject, place: &Path) {
    subject.fill(place, 1);
    let data = subject.data(place);
    assert_eq!(data.check().expect("the check runs"), [], "nothing is found in a thing that is whole");
    let first = Collect::of(&*data);
    assert!(first.troubles.is_empty(), "{:?}", first.troubles);
    for pair in first.taken.windows(2) {
        assert!(compare_paths(&pair[0].path, &pair[1].path).is_lt(), "{:?} before {:?}", pair[0].path, pair[1].path);
    }
    for taken in &first.taken {
        let Some(slash) = taken.path.iter().rposition(|byte| *byte == b'/') else {
            continue;
        };
        let above = first.get(&taken.path[..slash]).expect("each folder on the way is an item");
        assert_eq!(above.kind, Kind::Folder, "{:?}", above.path);
    }
    for taken in &first.taken {
        let mut xattrs = taken.attributes.xattrs.clone();
        xattrs.sort();
        assert_eq!(xattrs, taken.attributes.xattrs, "attributes are sorted");
        assert_eq!(taken.attributes.mode & !0o7777, 0, "a mode holds no kind");
    }
    assert_eq!(Collect::of(&*data).taken, first.taken, "a second export is the same");
}

fn exports_the_empty(subject: &dyn Subject, place: &Path) {
    subject.fill(place, 0);
    let sink = Collect::of(&*subject.data(place));
    assert!(sink.troubles.is_empty(), "{:?}", sink.troubles);
}

fn honours_unchanged(subject: &dyn Subject, place: &Path) {
    subject.fill(place, 1);
    let data = subject.data(place);
    let mut sink = Collect { unchanged: true, ..Collect::default() };
    data.export(&mut sink).expect("the export succeeds");
    for taken in &sink.taken {
        let asked = sink.asked.iter().any(|(path, _)| *path == taken.path);
        assert!(!asked, "{:?} was sent though it is unchanged", String::from_utf8_lossy(&taken.path));
    }
    for taken in &Collect::of(&*data).taken {
        let asked = sink.asked.iter().find(|(path, _)| *path == taken.path);
        if let Some((path, stamp)) = asked {
            assert_eq!(taken.stamp, Some(*stamp), "{:?} is sent with the stamp that was asked about", path);
        }
    }
}

fn stops_when_told(subject: &dyn Subject, place: &Path) {
    subject.fill(place, 1);
    let mut sink = Collect { most: Some(0), ..Collect::default() };
    assert!(matches!(subject.data(place).export(&mut sink), Err(crate::Error::Stopped)));
}

fn exports_names_as_bytes(subject: &dyn Subject, place: &Path, copy: &Path) {
    subject.fill(place, 0);
    let names: [&[u8]; 8] =
        [b"new\nline", b"carriage\rreturn", b"not\xff\xfeutf8", b"back\\slash", b" blank ", b"-dash", b"*?[a]", b"\x01"];
    if !subject.names(place, &names) {
        return;
    }
    let sink = Collect::of(&*subject.data(place));
    for name in names {
        assert!(sink.taken.iter().any(|taken| taken.path.ends_with(name)), "{name:?} is exported");
    }
    import(&*subject.data(copy), &sink.taken);
    assert_eq!(subject.read(place), subject.read(copy), "names survive a round");
}

/// Imports items into the thing, all steps.
/// Writes all of it into a folder.
pub fn write(taken: &[Taken], folder: &Path) {
    write_tree(taken, &Place { prefix: Vec::new(), folder: folder.to_path_buf(), mode: Mode::Switch });
}

pub fn import(data: &dyn Data, taken: &[Taken]) {
    let mut staging = data.stage().expect("the import begins");
    for place in staging.places() {
        write_tree(taken, place);
    }
    staging.prepare().expect("the import is prepared");
    let asked = RefCell::new(0);
    let mut holds = |path: &[u8]| {
        *asked.borrow_mut() += 1;
        taken.iter().any(|taken| taken.path == path)
    };
    staging.commit(&mut holds).expect("the import is committed");
}

fn imports_what_was_exported(subject: &dyn Subject, from: &Path, to: &Path) {
    subject.fill(from, 1);
    let first = Collect::of(&*subject.data(from)).taken;
    let data = subject.data(to);
    import(&*data, &first);
    assert_eq!(subject.read(to), subject.read(from), "an import where nothing was");
    import(&*data, &first);
    assert_eq!(subject.read(to), subject.read(from), "the same import again");
    subject.fill(from, 2);
    let second = Collect::of(&*subject.data(from)).taken;
    import(&*data, &second);
    assert_eq!(subject.read(to), subject.read(from), "what is gone in the source is gone in the target");
    let was = subject.read(to);
    data.rollback().expect("the import is taken back");
    assert_ne!(subject.read(to), was, "what was before is back");
    import(&*data, &second);
    assert_eq!(subject.read(to), was, "an import after one was taken back");
}

fn leaves_the_last_good(subject: &dyn Subject, good: &Path, fresh: &Path) {
    subject.fill(good, 1);
    subject.fill(fresh, 2);
    let was = subject.read(good);
    let arriving = Collect::of(&*subject.data(fresh)).taken;
    let data = subject.data(good);
    let staging = data.stage().expect("the import begins");
    for place in staging.places() {
        write_tree(&arriving[..arriving.len() / 2], place);
    }
    assert_eq!(subject.read(good), was, "nothing shows before the commit");
    drop(staging);
    assert_eq!(subject.read(good), was, "an import that was given up leaves the last good");
    import(&*data, &arriving);
    assert_eq!(subject.read(good), subject.read(fresh), "and is no obstacle to the next");
}

fn refuses_what_is_missing(subject: &dyn Subject, place: &Path) {
    let mut sink = Collect::default();
    let refused = subject.data(place).export(&mut sink);
    assert!(refused.is_err() && sink.taken.is_empty(), "what is missing is an error, not empty");
}
