//! How a repository grows, and what reading back costs after many exports. Prints figures; decides nothing.
//!
//! `growth sqlite FOLDER EXPORTS` changes three random pages of a 20 MB file before each export, as a database that is exported each 5 s.
//! `growth hours FOLDER VERSIONS MB` rewrites 1 % of the rows of a dump before each, half scattered and half in the recent tenth, and appends a little.
//! `growth adopt FOLDER MB` exports a file of which a tenth of the pages were rewritten, has another node take that over as its base, and tells what its first export stores, with that base and without one.
//! `growth read FOLDER` restores the first and the newest of such a repository in a process that holds nothing else; the identity lies beside the folder.

use archive::digest;
use archive::export::adopt::Adoption;
use archive::identity::Keyring;
use archive::local::state::Local;
use archive::read::open::OpenSnapshot;
use archive::repository::Repository;
use archive::store::{FolderStore, Store};
use archive::trust::Trust;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tests::plain::PlainTree;
use tests::trial::Trial;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

struct Words(Vec<String>);

impl Words {
    fn new(chance: &mut Chance) -> Self {
        let word = |chance: &mut Chance| (0..2 + chance.below(9)).map(|_| (b'a' + chance.below(26) as u8) as char).collect();
        Words((0..30_000).map(|_| word(chance)).collect())
    }

    fn row(&self, number: usize, chance: &mut Chance) -> String {
        let mut row = format!("{number}\t{}\t", chance.below(1_000_000));
        for _ in 0..11 {
            row.push_str(&self.0[chance.below(30_000)]);
            row.push(' ');
        }
        row.push_str(&format!(
            "\t2026-{:02}-{:02} {:02}:00\t0.{:06}\n",
            1 + chance.below(12),
            1 + chance.below(28),
            chance.below(24),
            chance.below(1_000_000)
        ));
        row
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

fn seconds(since: Instant) -> f64 {
    (now() - since).as_secs_f64()
}

fn stored(folder: &Path) -> u64 {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|m| m.is_file())
        .map(|m| m.len())
        .sum()
}

fn trial(folder: &Path) -> Trial {
    std::fs::create_dir_all(folder).expect("the folder is made");
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(folder).expect("the folder opens"));
    Trial::with(store, true)
}

/// What lies beside a repository: its identity, and the digest of its newest content.
fn beside(folder: &Path, what: &str) -> PathBuf {
    folder.with_extension(what)
}

/// Leaves beside the repository what `read` needs, and reads.
fn end(folder: &Path, trial: &Trial, newest: &[u8]) {
    std::fs::copy(&trial.identity, beside(folder, "identity")).expect("the identity is kept");
    std::fs::write(beside(folder, "digest"), digest::of_content(newest).0).expect("the digest is kept");
    read(folder);
}

/// Restores the oldest and the newest, checks the newest, and tells the times.
fn read(folder: &Path) {
    let mut times = vec![];
    let open = || Repository::open(Arc::new(FolderStore::open(folder).expect("it opens"))).expect("it opens");
    let known = open().snapshots().expect("they are listed");
    let digest = std::fs::read(beside(folder, "digest")).expect("the digest was kept");
    for known in [&known[0], &known[known.len() - 1]] {
        let repository = open();
        let target = tempfile::tempdir_in("/dev/shm").expect("a folder to restore to");
        let mut keyring = Keyring::from_file(&beside(folder, "identity"), &mut |_| panic!("it has no passphrase")).expect("it is read");
        // Opening finds everything once; that is not what is measured here.
        drop(repository.locations().expect("they are read"));
        let start = now();
        let report = tests::trial::restore_from(&repository, known, &mut keyring, target.path()).expect("it restores");
        times.push(seconds(start));
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        if times.len() == 2 {
            let peak = peak_kb();
            println!("restore: first {:.3} s, last {:.3} s, ratio {:.2}; peak memory {peak} kB", times[0], times[1], times[1] / times[0]);
            let file = std::fs::File::open(target.path().join("s/data")).expect("it was restored");
            let mut restored = digest::Digester::default();
            std::io::copy(&mut &file, &mut Sum(&mut restored)).expect("it is read");
            assert!(restored.finish().0 == digest[..], "the newest restores bit for bit");
        }
    }
}

struct Sum<'a>(&'a mut digest::Digester);

impl std::io::Write for Sum<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What this process has used of both cores.
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    ticks as f64 * 10.0
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn sqlite(folder: &Path, exports: usize) {
    const PAGE: usize = 4096;
    let mut chance = Chance(88_172_645_463_325_252);
    let words = Words::new(&mut chance);
    let page = |chance: &mut Chance| {
        let mut page = Vec::with_capacity(PAGE + 200);
        while page.len() < PAGE {
            page.extend_from_slice(words.row(chance.below(100_000), chance).as_bytes());
        }
        page.truncate(PAGE);
        page
    };
    let mut content: Vec<u8> = (0..5000).flat_map(|_| page(&mut chance)).collect();
    let trial = trial(folder);
    let mut tree = PlainTree::new("s");
    tree.file("s/data", content.clone());
    trial.export(&tree);
    let (first, mut alone, mut runs_most) = (stored(folder), 0u64, 0);
    let (mut quarter, mut used) = (now(), processor_ms());
    for export in 1..=exports {
        let mut changed = vec![];
        for _ in 0..3 {
            let at = chance.below(5000) * PAGE;
            let new = page(&mut chance);
            content[at..at + PAGE].copy_from_slice(&new);
            changed.extend_from_slice(&new);
        }
        alone += zstd::bulk::compress(&changed, trial.options.level).expect("it compresses").len() as u64;
        tree.file("s/data", content.clone());
        let report = trial.export(&tree);
        runs_most = runs_most.max(report.runs_used);
        if export % (exports / 8).max(1) == 0 {
            let grown = stored(folder) - first;
            println!(
                "export {export}: {} B grown, {alone} B changed alone, ratio {:.2}, runs {} (most {runs_most}), {:.1} ms an export, {:.1} ms of processor time",
                grown,
                grown as f64 / alone as f64,
                report.runs_used,
                seconds(quarter) * 1000.0 / (exports / 8).max(1) as f64,
                (processor_ms() - used) / (exports / 8).max(1) as f64
            );
            (quarter, used) = (now(), processor_ms());
        }
    }
    end(folder, &trial, &content);
}

fn hours(folder: &Path, versions: usize, megabytes: usize) {
    let mut chance = Chance(88_172_645_463_325_252);
    let words = Words::new(&mut chance);
    let mut rows: Vec<String> = Vec::new();
    let mut bytes = 0;
    while bytes < megabytes * 1_000_000 {
        let row = words.row(rows.len(), &mut chance);
        bytes += row.len();
        rows.push(row);
    }
    let trial = trial(folder);
    let mut tree = PlainTree::new("s");
    tree.file("s/data", rows.concat());
    trial.export(&tree);
    let (first, mut alone, mut last) = (stored(folder), 0u64, now());
    for version in 1..=versions {
        let (count, mut changed) = (rows.len(), String::new());
        let places: Vec<usize> = (0..count / 200)
            .flat_map(|_| [chance.below(count), count * 9 / 10 + chance.below(count / 10)])
            .collect();
        for at in places {
            rows[at] = words.row(at, &mut chance);
            changed.push_str(&rows[at]);
        }
        for n in 0..count / 2000 {
            rows.push(words.row(count + n, &mut chance));
            changed.push_str(&rows[count + n]);
        }
        alone += zstd::bulk::compress(changed.as_bytes(), trial.options.level).expect("it compresses").len() as u64;
        tree.file("s/data", rows.concat());
        let report = trial.export(&tree);
        if version % (versions / 8).max(1) == 0 {
            let grown = stored(folder) - first;
            println!(
                "version {version}: mean growth {} B, changed alone {} B, ratio {:.2}, runs {}, {:.2} s an export",
                grown / version as u64,
                alone / version as u64,
                grown as f64 / alone as f64,
                report.runs_used,
                seconds(last) / (versions / 8).max(1) as f64
            );
            last = now();
        }
    }
    end(folder, &trial, rows.concat().as_bytes());
}

/// What it costs to take over a base, and what it saves.
fn adopt(folder: &Path, megabytes: usize) {
    let mut chance = Chance(7);
    let web1 = trial(folder);
    let mut content = tests::chance::noise(1, megabytes << 20);
    let mut tree = PlainTree::new("s");
    for _ in 0..4 {
        tree.file("s/file", content.clone());
        web1.export(&tree);
        for _ in 0..content.len() >> 12 >> 5 {
            let at = chance.below(content.len() >> 12) << 12;
            content[at..at + 4096].copy_from_slice(&tests::chance::noise(chance.next(), 4096));
        }
    }
    let known = web1.repository.snapshots().expect("they are listed").pop().expect("there is one");
    for adopted in [true, false] {
        let mut options = web1.options.clone();
        (options.node, options.epoch) = ("web2".into(), 1);
        options.signer = Arc::new(archive::sign::Signer::from_seed(&[2 + u8::from(adopted); 32]));
        let local = tempfile::tempdir_in(folder.parent().expect("it lies somewhere")).expect("a folder for local state");
        let before = seconds_of(|| {
            if adopted {
                let snapshot = OpenSnapshot::open(&web1.repository, &known, &Trust::default(), &mut web1.keyring()).expect("it opens");
                let recipients = options.recipients.as_deref();
                let (signer, trust) = (options.signer.public(), &Trust::default());
                let adoption = Adoption { signer, recipients, trust, cache_bytes: 1 << 30, threads: 2, streamed: &|_| false };
                let local = Local::open(local.path()).expect("it is ours");
                archive::export::adopt::adopt(&snapshot, &local, &adoption).expect("it is adopted");
            }
        });
        let mut stored = 0;
        let exported = seconds_of(|| stored = tree.export(&web1.repository, local.path(), &options).expect("it goes through").stored_bytes);
        let what = if adopted { "with" } else { "without" };
        println!(
            "{megabytes} MB {what} a base: made in {before:.2} s, first export {exported:.2} s, {} kB stored; {} MB at most",
            stored >> 10,
            peak_kb() >> 10
        );
    }
}

fn seconds_of(work: impl FnOnce()) -> f64 {
    let start = now();
    work();
    seconds(start)
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok()).expect("a number");
    let folder = Path::new(arguments.get(2).map(String::as_str).expect("growth sqlite|hours|adopt|read FOLDER …"));
    match arguments[1].as_str() {
        "sqlite" => sqlite(folder, number(3)),
        "hours" => hours(folder, number(3), number(4)),
        "adopt" => adopt(folder, number(3)),
        "read" => read(folder),
        other => panic!("growth sqlite, hours, adopt or read, not {other}"),
    }
}
