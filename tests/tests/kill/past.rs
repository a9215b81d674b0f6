//! A history of ten days ago in a folder: old enough that nothing of it is spared for being young.

use archive::id::SnapshotId;
use archive::name;
use archive::repository::{Access, Repository};
use archive::store::FolderStore;
use archive::sweep::{SweepOptions, SweepReport, sweep};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tests::chance::Chance;
use tests::plain::PlainTree;
use tests::program::program;
use tests::trial::{Trial, copy_folder, restore_from};

pub const DAY_MS: u64 = 86_400_000;

#[expect(clippy::disallowed_methods, reason = "the programs read the clock, so ages are counted from it")]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("it is after 1970")
        .as_millis() as u64
}

pub struct Past {
    pub trial: Trial,
    pub place: PathBuf,
    pub snapshots: Vec<(SnapshotId, PlainTree)>,
    folder: tempfile::TempDir,
}

impl Past {
    /// So many snapshots. Most are small and stand in one object with their segments; each fourth brings packs of which later ones need a part.
    pub fn new(count: usize, chance: &mut Chance) -> Past {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let place = folder.path().join("repository");
        std::fs::create_dir(&place).expect("the folder is made");
        let trial = Trial::with(Arc::new(FolderStore::open(&place).expect("it opens")), true);
        trial.clock.store(now_ms() - 10 * DAY_MS, Ordering::SeqCst);
        let mut past = Past { trial, place, snapshots: vec![], folder };
        let mut tree = PlainTree::new("s");
        for number in 0..count {
            if number % 4 == 0 {
                (0..6).for_each(|_| tree.file(format!("s/large {}", chance.below(9)), chance.noise(300_000)));
            }
            (0..3).for_each(|_| tree.file(format!("s/small {}", chance.below(40)), chance.noise(9_000)));
            past.trial.wait_ms(3_600_000);
            let archive::export::Outcome::Snapshot { id, .. } = past.trial.export(&tree).outcome else { panic!("it changed") };
            past.snapshots.push((id, tree.clone()));
        }
        // Sweep sees everything for the first time then.
        past.sweep(&past.place, past.trial.clock.load(Ordering::SeqCst));
        past
    }

    pub fn newest(&self) -> &PlainTree {
        &self.snapshots.last().expect("there is one").1
    }

    pub fn ids(&self) -> Vec<SnapshotId> {
        self.snapshots.iter().map(|(id, _)| *id).collect()
    }

    /// The repository as it is, in another folder.
    pub fn copy(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        if copy.exists() {
            std::fs::remove_dir_all(&copy).expect("it is ours");
        }
        copy_folder(&self.place, &copy);
        copy
    }

    pub fn command(&self, arguments: &[&str], place: &Path) -> Command {
        let mut command = program("pull-backup");
        command.args(arguments).arg("--repository").arg(place);
        command
    }

    /// Which of the snapshots in a folder restore bit for bit; none restores to something else.
    pub fn restorable(&self, place: &Path, what: &str) -> BTreeSet<SnapshotId> {
        let repository = Repository::open_folder(place, Access::Shared).expect("it opens");
        let mut good = BTreeSet::new();
        for known in repository.snapshots().expect("it lists") {
            let target = tempfile::tempdir().expect("a folder to restore to");
            let tree = &self.snapshots.iter().find(|(id, _)| *id == known.id).expect("it was exported here").1;
            if restore_from(&repository, &known, &mut self.trial.keyring(), target.path()).is_ok_and(|report| report.problems.is_empty()) {
                tree.assert_same(&PlainTree::read(target.path()), what);
                good.insert(known.id);
            }
        }
        good
    }

    /// Asserts that every snapshot in a folder restores, and gives them.
    pub fn assert_all_restore(&self, place: &Path, what: &str) -> Vec<SnapshotId> {
        let known = Repository::open_folder(place, Access::Shared)
            .and_then(|repository| repository.snapshots())
            .expect("it lists");
        let good = self.restorable(place, what);
        known
            .iter()
            .for_each(|known| assert!(good.contains(&known.id), "{what}: {} does not restore", known.name));
        known.iter().map(|known| known.id).collect()
    }

    pub fn sweep(&self, place: &Path, now_ms: u64) -> SweepReport {
        let repository = Repository::open_folder(place, Access::Exclusive).expect("it opens");
        let options = SweepOptions { now_ms, patience_ms: 2 * DAY_MS, trash_ms: DAY_MS, dry_run: false, keep_runs: &|_| false };
        let report = sweep(&repository, &options).expect("it sweeps");
        assert!(report.refused.is_none() && report.damaged.is_empty(), "{report:?}");
        report
    }

    /// Sweeps as the days go by, and asserts that garbage is gone then: no drafts, no trash, and of no pack more than half is waste.
    pub fn assert_collected_days_later(&self, place: &Path, what: &str) {
        let sweep = |days: u64| self.sweep(place, now_ms() + days * DAY_MS);
        [3, 6].into_iter().for_each(|days| drop(sweep(days)));
        // What the sweeps before wrote has come of age, and is merged when it is several small packs; those wait for a day more.
        let merged = sweep(9);
        assert!(merged.bytes_copied * 2 >= merged.bytes_trashed, "{what}: garbage stood until the ninth day: {merged:?}");
        let last = if merged.packs_trashed > 0 { sweep(12) } else { merged };
        assert_eq!(last.packs_trashed, 0, "{what}: it comes to rest: {last:?}");
        assert_eq!(std::fs::read_dir(place.join(name::TRASH)).map_or(0, Iterator::count), 0, "{what}: the trash is empty");
        let (mut bytes, mut objects) = (0, 0);
        for entry in walkdir::WalkDir::new(place) {
            let entry = entry.expect("it lists");
            assert!(!entry.file_name().to_string_lossy().starts_with(".draft-"), "{what}: a draft was left");
            let metadata = entry.metadata().expect("it was listed");
            bytes += if metadata.is_file() { metadata.len() } else { 0 };
            objects += 1;
        }
        let needed = needed_bytes(place);
        assert!(bytes <= 2 * needed + objects * 2000, "{what}: {bytes} bytes are left, {needed} are needed");
    }
}

/// The length of all segments that a snapshot needs.
fn needed_bytes(place: &Path) -> u64 {
    let repository = Repository::open_folder(place, Access::Shared).expect("it opens");
    let mut needed = std::collections::BTreeMap::new();
    for known in repository.snapshots().expect("it lists") {
        for used in repository.snapshot(&known).expect("it is whole").body.runs {
            let run = repository.run(&used).expect("it is there").body;
            let lens = used
                .sequences()
                .map(|sequence| ((run.id.0, sequence), u64::from(run.segments[sequence as usize].len)));
            needed.extend(lens);
        }
    }
    needed.values().sum()
}
