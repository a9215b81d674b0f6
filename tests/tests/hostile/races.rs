//! Somebody keeps swapping what is in the target for links to outside while a restore runs: it may fail, it never leaves the target.

use archive::entry::Node;
use archive::identity::Keyring;
use archive::read::open::OpenSnapshot;
use archive::read::restore::{RestoreOptions, restore};
use archive::trust::Trust;
use recipes::data::conform::Ends;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tests::canary::Canary;
use tests::chance::{budget, noise};
use tests::forge::{Forge, entry, extent, folder, honest};

/// A snapshot with files, links and fifos in folders within folders, of the names that stand outside.
fn snapshot() -> (Forge, archive::repository::Known) {
    let mut forge = Forge::new();
    let large = noise(1, 1 << 20);
    let ordinal = forge.run(&[&large, &noise(2, 5000)]);
    let mut entries = vec![folder("s")];
    for name in ["a", "b", "c"] {
        entries.push(folder(format!("s/{name}")));
        entries.push(honest(format!("s/{name}/file"), b"", &[]));
        entries.push(entry(format!("s/{name}/fifo"), Node::Fifo));
        entries.push(entry(format!("s/{name}/link"), Node::Symlink(b"nowhere".to_vec())));
        entries.push(folder(format!("s/{name}/sub")));
        for n in 0..20 {
            entries.push(honest(
                format!("s/{name}/sub/{n:02}"),
                &large[n * 100..n * 100 + 5000],
                &[extent(ordinal, 0, n as u32 * 100, 5000)],
            ));
        }
        entries.push(honest(
            format!("s/{name}/sub/file"),
            &large,
            &[extent(ordinal, 0, 0, 700_000), extent(ordinal, 0, 700_000, (1 << 20) - 700_000)],
        ));
        entries.push(entry(format!("s/{name}/sub/other"), Node::HardLink(format!("s/{name}/sub/file").into_bytes())));
    }
    entries.sort_by(|a, b| archive::entry::compare(&a.path, &b.path));
    let known = forge.tree(&entries);
    (forge, known)
}

/// Swaps each of these for the link beside it and back, until told to stop.
fn swap(pairs: &[(std::path::PathBuf, std::path::PathBuf)], stop: &AtomicBool, swaps: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        for (inside, link) in pairs {
            // Either may be gone at times; that is the point.
            if renameat_with(CWD, inside, CWD, link, RenameFlags::EXCHANGE).is_ok() {
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn swapped_folders_and_files_lead_nowhere() {
    let (forge, known) = snapshot();
    let (stop, swaps, mut problems) = (AtomicBool::new(false), AtomicU64::new(0), 0);
    let canary = Canary::new();
    let beside = canary.target().join("s.links");
    std::fs::create_dir_all(&beside).unwrap();
    let outside = canary.outside();
    let pair = |inside: &str, to: &Path| {
        let link = beside.join(inside.replace('/', "."));
        symlink(to, &link).unwrap();
        (canary.target().join(inside), link)
    };
    let pairs = [
        pair("s/a", &outside),
        pair("s/b/sub", &outside.join("sub")),
        pair("s/c/fifo", &outside.join("file")),
        pair("s/c/file", &outside.join("file")),
        pair("s", &outside),
    ];
    // The links were made before: a link itself is nothing outside.
    std::thread::scope(|scope| {
        let (ends, stop, swaps) = (Ends(&stop), &stop, &swaps);
        for pairs in [&pairs[..2], &pairs[2..4], &pairs[4..]] {
            scope.spawn(move || swap(pairs, stop, swaps));
        }
        for round in 0..budget(60) {
            let repository = forge.repository();
            let opened = OpenSnapshot::open(&repository, &known, &Trust::default(), &mut Keyring::default()).unwrap();
            let keep = |path: &[u8]| path.starts_with(b"s.links");
            let delete: Option<&(dyn Fn(&[u8]) -> bool + Sync)> = if round % 2 == 0 { Some(&keep) } else { None };
            let options = RestoreOptions { threads: 2, delete, ..RestoreOptions::default() };
            match restore(&opened, &canary.target(), &options) {
                Ok(report) => problems += report.problems.len(),
                Err(error) => assert!(!matches!(error, archive::Error::Damaged { .. }), "{error}"),
            }
            if round % 10 == 9 {
                // Something new to write.
                let _ = std::fs::remove_dir_all(canary.target().join("s/b"));
                let _ = std::fs::remove_dir_all(canary.target().join("s/c"));
            }
            canary.assert_untouched(&format!("round {round}"));
        }
        drop(ends);
    });
    println!("{} swaps, {problems} problems", swaps.load(Ordering::Relaxed));
    assert!(swaps.load(Ordering::Relaxed) > 100, "nothing was swapped");
    assert!(problems > 0, "nothing was in the way");
}
