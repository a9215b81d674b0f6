//! A repository with two snapshots, and the programs run on it.

use archive::id::SnapshotId;
use archive::sign::Signer;
use archive::store::FolderStore;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tests::plain::{Plain, PlainTree};
use tests::program::{Ran, finish, program};
use tests::trial::Trial;

pub const DAY_MS: u64 = 86_400_000;
/// A node's key that is not the one of the trial.
pub const STRANGER: [u8; 32] = [9; 32];

pub struct Stand {
    pub trial: Trial,
    pub place: PathBuf,
    pub ids: Vec<SnapshotId>,
    pub trees: Vec<PlainTree>,
    stored: Vec<u64>,
    _folder: tempfile::TempDir,
}

#[expect(clippy::disallowed_methods, reason = "the programs read the clock, so ages are counted from it")]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

impl Stand {
    /// No snapshot yet.
    pub fn empty(sealed: bool) -> Stand {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repository");
        std::fs::create_dir(&place).unwrap();
        let trial = Trial::with(Arc::new(FolderStore::open(&place).unwrap()), sealed);
        Stand { trial, place, ids: vec![], trees: vec![], stored: vec![], _folder: folder }
    }

    /// Two snapshots: one of three days ago, one of two hours ago.
    pub fn new(sealed: bool) -> Stand {
        let mut stand = Stand::empty(sealed);
        let mut tree = PlainTree::new("s");
        tree.file("s/a.txt", "one\n".repeat(1000));
        tree.file(b"s/odd\n\x1b[2J\xff", "bytes as a name");
        tree.put("s/sub", Plain::Folder);
        tree.file("s/sub/b.txt", "two\n");
        tree.file("s/sub/gone.txt", "three\n");
        tree.put("s/sub/link", Plain::Symlink(b"../a.txt".to_vec()));
        tree.put("s/twin", Plain::HardLink(b"s/a.txt".to_vec()));
        stand.export(&tree, now_ms() - 3 * DAY_MS - 600_000);
        tree.remove(b"s/sub/gone.txt");
        tree.file("s/sub/b.txt", "two, and more\n");
        tree.file("s/sub/new.txt", "four\n");
        stand.export(&tree, now_ms() - 2 * 3_600_000 - 600_000);
        stand
    }

    /// One more snapshot, captured about then.
    pub fn export(&mut self, tree: &PlainTree, at_ms: u64) {
        self.trial.clock.store(at_ms, Ordering::SeqCst);
        let report = self.trial.export(tree);
        match report.outcome {
            archive::export::Outcome::Snapshot { id, .. } => self.ids.push(id),
            other => panic!("{other:?}"),
        }
        self.trees.push(tree.clone());
        // The record counts less than the report: it cannot count itself.
        let id = *self.ids.last().expect("it was pushed");
        let record = self.trial.repository.snapshot(&self.trial.known(id)).expect("the snapshot is read");
        self.stored.push(record.body.stored_bytes);
    }

    pub fn short(&self, number: usize) -> String {
        self.ids[number].to_string()[..8].to_owned()
    }

    /// Runs a command of a program on this repository, with the identity.
    pub fn run_as(&self, name: &str, arguments: &[&str]) -> Ran {
        let mut all = self.arguments(arguments);
        if !matches!(arguments[0], "snapshots" | "check" | "retain") {
            all.extend(["--identity".into(), self.trial.identity.clone().into_os_string()]);
        }
        finish(program(name).args(all))
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_as("pull-backup", arguments)
    }

    pub fn arguments(&self, arguments: &[&str]) -> Vec<OsString> {
        let mut all: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        all.splice(1..1, ["--repository".into(), self.place.clone().into_os_string()]);
        all
    }

    /// A folder that nobody else uses.
    pub fn target(&self, name: &str) -> PathBuf {
        self.trial.folder.path().join(name)
    }

    /// Output with what differs from run to run replaced: ids, times, sizes of what is sealed, folders.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text
            .replace(self.place.to_str().unwrap(), "[repository]")
            .replace(self.trial.folder.path().to_str().unwrap(), "[folder]");
        for (number, id) in self.ids.iter().enumerate() {
            text = text
                .replace(&id.to_string(), &format!("[id {}]", number + 1))
                .replace(&self.short(number), &format!("[id {}]", number + 1));
        }
        for stored in &self.stored {
            for colon in [":", ": "] {
                text = text.replace(&format!("\"stored_bytes\"{colon}{stored}"), "\"stored_bytes\":0");
            }
            text = text.replace(&format!(" {} ", console::human::bytes(*stored)), " [new] ");
        }
        text = text.replace(&self.trial.repository.config().id.to_string(), "[repository id]");
        collapse(&times(&text))
    }
}

/// Times with seconds, of either writing.
fn times(text: &str) -> String {
    let shape = "dddd-dd-dd?dd:dd:dd";
    let fits = |rest: &[u8]| {
        rest.len() >= shape.len()
            && shape.bytes().zip(rest).all(|(wanted, byte)| match wanted {
                b'd' => byte.is_ascii_digit(),
                b'?' => b" T".contains(byte),
                other => other == *byte,
            })
    };
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        if fits(rest.as_bytes()) {
            out.push_str("[time]");
            rest = rest[shape.len()..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
            rest = rest.strip_prefix(" +00:00").or_else(|| rest.strip_prefix('Z')).unwrap_or(rest);
        } else {
            let first = rest.chars().next().unwrap();
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Columns are as wide as what was redacted.
fn collapse(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let cells: Vec<&str> = line.trim_end().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        cells.join("  ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The public half of a key that signed nothing here.
pub fn stranger() -> String {
    Signer::from_seed(&STRANGER).public().to_string()
}

/// Ids of runs and sealing identities, which are random.
pub fn hide_ids(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let id = word.trim_end().trim_end_matches(':');
        if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) { word.replace(id, "[an id]") } else { word.to_owned() }
    });
    words.collect()
}
