//! How long an export takes in which nothing changed: `cargo run --release -p recipes --example walk [FOLDER]`.
//!
//! Without a folder it makes a tree of 49,000 files in 4,900 folders in memory, if it can, and removes it again.

#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use recipes::{Data, Files, Item, Settings, Sink, Stamp, Stop};

#[derive(Default)]
struct Unchanged {
    entries: usize,
    bytes: u64,
}

impl Sink for Unchanged {
    fn unchanged(&mut self, _: &[u8], stamp: &Stamp) -> Result<bool, Stop> {
        self.entries += 1;
        self.bytes += stamp.size;
        Ok(true)
    }

    fn item(&mut self, _: Item) -> Result<(), Stop> {
        Ok(())
    }

    fn trouble(&mut self, path: &[u8], error: std::io::Error) {
        eprintln!("{}: {error}", String::from_utf8_lossy(path));
    }
}

fn make(root: &Path) -> std::io::Result<()> {
    for outer in 0..70 {
        for inner in 0..70 {
            let folder = root.join(format!("folder-{outer:03}/inner-{inner:03}"));
            std::fs::create_dir_all(&folder)?;
            for file in 0..10 {
                std::fs::write(folder.join(format!("some-file-{file:05}.txt")), b"content")?;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let (root, made): (PathBuf, _) = match std::env::args_os().nth(1) {
        Some(given) => (given.into(), None),
        None => {
            let made = tempfile::tempdir_in(base)?;
            make(made.path())?;
            (made.path().to_path_buf(), Some(made))
        }
    };
    for exclude in [vec![], vec!["*.tmp".to_owned(), "/cache/".to_owned(), "*.log".to_owned()]] {
        let rules = exclude.len();
        let files = Files::new(Settings { paths: vec![root.clone()], exclude, ..Settings::default() })?;
        for _ in 0..5 {
            let mut sink = Unchanged::default();
            let start = Instant::now();
            files.export(&mut sink)?;
            println!("{:?}: {} entries, {} bytes, {rules} excludes", start.elapsed(), sink.entries, sink.bytes);
        }
    }
    drop(made);
    Ok(())
}
