//! A folder beside the target that nothing may touch, and a look at it that notices any touch.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub struct Canary {
    folder: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Default for Canary {
    fn default() -> Self {
        Self::new()
    }
}

impl Canary {
    /// A folder with `outside/…`, which is looked at, and room for `target`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let outside = folder.path().join("outside");
        std::fs::create_dir_all(outside.join("sub")).expect("a folder can be made");
        for name in ["file", "sub/file", "sub/other"] {
            std::fs::write(outside.join(name), format!("secret of {name}")).expect("a file can be written");
        }
        std::os::unix::fs::symlink("file", outside.join("link")).expect("a link can be made");
        let mut canary = Canary { folder, before: BTreeMap::new() };
        canary.before = canary.look();
        canary
    }

    pub fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    pub fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// Takes what is there now as what must stay.
    pub fn look_again(&mut self) {
        self.before = self.look();
    }

    fn look(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        let inside = |path: &Path| path == self.folder.path() || path == self.target();
        let all = walkdir::WalkDir::new(self.folder.path())
            .into_iter()
            .filter_entry(|entry| entry.path() != self.target());
        for entry in all.map(|entry| entry.expect("it is readable")).filter(|entry| !inside(entry.path())) {
            let found = entry.path().symlink_metadata().expect("it was listed");
            let content = if found.is_file() { std::fs::read(entry.path()).expect("it is readable") } else { vec![] };
            let times = (found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
            seen.insert(entry.path().into(), format!("{:o} {} {} {times:?} {content:?}", found.mode(), found.nlink(), found.ino()));
        }
        seen
    }

    /// Asserts that nothing outside of the target was touched, not even a time.
    pub fn assert_untouched(&self, what: &str) {
        assert_eq!(self.look(), self.before, "{what}: something outside of the target was touched");
    }
}
