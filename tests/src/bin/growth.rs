//! How a repository grows, and what reading back costs after many exports. Prints figures; decides nothing.
//!
//! `growth sqlite FOLDER EXPORTS` changes three random pages of a 20 MB file before each export, as a database that is exported each 5 s.
//! `growth hours FOLDER VERSIONS MB` rewrites 1 % of the rows of a dump before each, half scattered and half in the recent tenth, and appends a little.

use archive::repository::Repository;
use archive::store::{FolderStore, Store};
use std::path::Path;
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

/// Restores the oldest and the newest, checks the newest, and tells the times.
fn read_back(folder: &Path, trial: &Trial, newest: &[u8]) {
    let mut times = vec![];
    let ends = |known: &[archive::repository::Known]| [known[0].clone(), known[known.len() - 1].clone()];
    let known = trial.repository.snapshots().expect("they are listed");
    for known in ends(&known) {
        let repository = Repository::open(Arc::new(FolderStore::open(folder).expect("it opens"))).expect("it opens");
        let target = tempfile::tempdir_in("/dev/shm").expect("a folder to restore to");
        // Opening finds everything once; that is not what is measured here.
        drop(repository.locations().expect("they are read"));
        let start = now();
        let report = tests::trial::restore_from(&repository, &known, &mut trial.keyring(), target.path()).expect("it restores");
        times.push(seconds(start));
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        if times.len() == 2 {
            let restored = std::fs::read(target.path().join("s/data")).expect("it was restored");
            assert!(restored == newest, "the newest restores bit for bit");
        }
    }
    println!("restore: first {:.3} s, last {:.3} s, ratio {:.2}; peak memory {} kB", times[0], times[1], times[1] / times[0], peak_kb());
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
    read_back(folder, &trial, &content);
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
    read_back(folder, &trial, rows.concat().as_bytes());
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok()).expect("a number");
    let folder = Path::new(arguments.get(2).map(String::as_str).expect("growth sqlite|hours FOLDER …"));
    match arguments[1].as_str() {
        "sqlite" => sqlite(folder, number(3)),
        "hours" => hours(folder, number(3), number(4)),
        other => panic!("growth sqlite or growth hours, not {other}"),
    }
}
