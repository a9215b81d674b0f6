//! The segment cache: it may lose anything, it never gives wrong bytes.

use archive::local::RunTag;
use archive::local::cache::SegmentCache;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const RUN: RunTag = RunTag(0xABCD);

fn bytes(sequence: u32, len: usize) -> Vec<u8> {
    let mut state = sequence as u64 + 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// Whether it is had; when it is, it must be right.
fn had(cache: &SegmentCache, sequence: u32, len: usize) -> bool {
    let mut out = vec![1; 3];
    let had = cache.get(RUN, sequence, &mut out).unwrap();
    if had {
        assert!(out == bytes(sequence, len), "wrong bytes of {sequence}");
    }
    had
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_put_is_had_by_later_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("cache");
    // As many tiny sessions as take part in a day of exports are many; a few show the same.
    for session in 0..200 {
        let cache = SegmentCache::open(&folder, 64 << 20, 1).unwrap();
        cache.put(RUN, session, &bytes(session, 700)).unwrap();
        assert!((0..=session).all(|sequence| had(&cache, sequence, 700) && cache.contains(RUN, sequence)));
        assert!(!cache.contains(RUN, session + 1) && !had(&cache, session + 1, 700));
        cache.finish().unwrap();
    }
    assert_eq!(files(&folder).len(), 2, "one data file and the index");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for file in files(&folder) {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let cache = SegmentCache::open(&folder, 64 << 20, 1).unwrap();
    cache.forget_except(&|_, sequence| sequence % 2 == 0);
    assert!((0..200).all(|sequence| had(&cache, sequence, 700) == (sequence % 2 == 0)));
    drop(cache);
    let cache = SegmentCache::open(&folder, 64 << 20, 1).unwrap();
    assert!((0..200).all(|sequence| had(&cache, sequence, 700) == (sequence % 2 == 0)));
    drop(cache);
    let cache = SegmentCache::open(&folder, 0, 1).unwrap();
    cache.put(RUN, 1, b"x").unwrap();
    assert!((0..200).all(|sequence| !had(&cache, sequence, 700)) && cache.bytes() == 0);
}

#[test]
fn the_limit_holds_and_chance_decides() {
    let kept = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let cache = SegmentCache::open(folder.path(), 1 << 20, seed).unwrap();
        for sequence in 0..300 {
            cache.put(RUN, sequence, &bytes(sequence, 10_000)).unwrap();
            assert!(cache.bytes() <= 1 << 20);
        }
        let on_disk: u64 = files(folder.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(on_disk < (1 << 20) + 50_000);
        let kept: Vec<u32> = (0..300).filter(|&sequence| had(&cache, sequence, 10_000)).collect();
        drop(cache);
        let again = SegmentCache::open(folder.path(), 1 << 20, seed).unwrap();
        assert!(kept.iter().all(|&sequence| had(&again, sequence, 10_000)));
        kept
    };
    assert!(kept(1).len() > 80);
    assert_eq!(kept(1), kept(1));
    assert_ne!(kept(1), kept(2));
    assert!(kept(1)[0] < 200, "some old ones survive a scan");
}

/// A list that is mostly dead is rewritten.
#[test]
fn the_index_is_compacted() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SegmentCache::open(folder.path(), 1 << 20, 1).unwrap();
    for sequence in 0..6000 {
        cache.put(RUN, sequence, &bytes(sequence, 1000)).unwrap();
    }
    let before = fs::metadata(folder.path().join("index")).unwrap().len();
    let kept: Vec<u32> = (0..6000).filter(|&sequence| cache.contains(RUN, sequence)).collect();
    cache.finish().unwrap();
    assert!(fs::metadata(folder.path().join("index")).unwrap().len() < before / 4);
    let cache = SegmentCache::open(folder.path(), 1 << 20, 1).unwrap();
    assert!(!kept.is_empty() && kept.iter().all(|&sequence| had(&cache, sequence, 1000)));
}

/// Every byte of both files flipped, both cut everywhere, removed, swapped: it opens, and gives right bytes or none.
#[test]
fn damage_is_never_given_out() {
    let template = tempfile::tempdir().unwrap();
    let cache = SegmentCache::open(template.path(), 1 << 20, 1).unwrap();
    (0..12).for_each(|sequence| cache.put(RUN, sequence, &bytes(sequence, 90 + sequence as usize)).unwrap());
    drop(cache);
    let sound: Vec<(String, Vec<u8>)> = files(template.path())
        .iter()
        .map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(file).unwrap()))
        .collect();
    let check = |name: &str, content: &[u8], least: usize| {
        let folder = tempfile::tempdir().unwrap();
        for (other, whole) in &sound {
            fs::write(folder.path().join(other), if other == name { content } else { whole }).unwrap();
        }
        for _ in 0..2 {
            let cache = SegmentCache::open(folder.path(), 1 << 20, 1).unwrap();
            let count = (0..12).filter(|&sequence| had(&cache, sequence, 90 + sequence as usize)).count();
            assert!(count >= least, "{name}: {count} had");
            cache.put(RUN, 100, &bytes(100, 500)).unwrap();
            assert!(had(&cache, 100, 500));
        }
    };
    for (name, whole) in &sound {
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            check(name, &flipped, 11);
            if at % 3 == 0 {
                check(name, &whole[..at], 0);
            }
        }
        let mut zeroed = whole.clone();
        zeroed[200..].fill(0);
        check(name, &zeroed, 1);
    }
    let mut swapped = sound[0].1.clone();
    swapped.rotate_left(48);
    check(&sound[0].0, &swapped, 0);
}

/// What cannot be written turns the cache off for the session, and is no error.
#[test]
fn a_failed_write_turns_it_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let cache = SegmentCache::open(&path, 1 << 20, 1).unwrap();
    fs::remove_dir_all(&path).unwrap();
    cache.put(RUN, 1, &bytes(1, 100)).unwrap();
    assert!(cache.is_off() && !had(&cache, 1, 100));
    cache.put(RUN, 2, &bytes(2, 100)).unwrap();
    cache.finish().unwrap();
}

#[test]
fn threads_share_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = SegmentCache::open(folder.path(), 4 << 20, 1).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let cache = &cache;
            scope.spawn(move || {
                for number in 0..400 {
                    // Half of the segments are put by every thread.
                    let sequence = if number % 2 == 0 { number } else { number + 1000 * thread };
                    cache.put(RUN, sequence, &bytes(sequence, 9000)).unwrap();
                    had(cache, sequence, 9000);
                    had(cache, number / 2, 9000);
                    if number % 100 == 99 {
                        cache.forget_except(&|_, sequence| sequence % 7 != 0);
                    }
                    assert!(cache.bytes() <= 4 << 20);
                }
            });
        }
    });
    assert!(!cache.is_off());
    assert!((0..4400).filter(|&sequence| had(&cache, sequence, 9000)).count() > 200);
}
