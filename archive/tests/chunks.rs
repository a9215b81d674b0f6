//! The chunk table: nothing wrong is believed, whatever happened to the file.

use archive::local::RunTag;
use archive::local::chunks::{ChunkTable, PLACES_MAX, Place};
use std::fs;

const KEY: [u8; 32] = [7; 32];

fn any(_: RunTag, _: u32) -> bool {
    true
}

fn chunk(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(4)
}

/// Places that are a function of the number, so that a wrong one is seen.
fn places(number: u32, count: u32) -> Vec<Place> {
    (0..count)
        .map(|piece| Place {
            run: RunTag(number as u64 % 5),
            sequence: number,
            offset: piece * 1000 + number % 1000,
            len: number % 90 + piece + 1,
        })
        .collect()
}

fn total(places: &[Place]) -> u32 {
    places.iter().map(|place| place.len).sum()
}

fn found(table: &ChunkTable, number: u32, count: u32) -> bool {
    let (mut out, expected) = (Vec::new(), places(number, count));
    let had = table.find(&table.hash(&chunk(number)), total(&expected), &any, &mut out);
    assert_eq!(out, if had { expected } else { Vec::new() });
    had
}

/// How many were left is a word of the file like others: whatever it says, places are forgotten some time.
#[test]
fn what_the_file_says_was_left_is_not_believed_beyond_its_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chunks");
    let table = ChunkTable::open(&path, &KEY).unwrap();
    for number in 0..1000 {
        table.insert(&table.hash(&chunk(number)), &places(number, 1)).unwrap();
    }
    table.retain(&any).unwrap();
    assert!(!table.is_untidy(600), "a pass would not have more to forget");
    drop(table);
    let mut bytes = fs::read(&path).unwrap();
    bytes[32..40].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let table = ChunkTable::open(&path, &KEY).unwrap();
    for number in 1000..10_000 {
        table.insert(&table.hash(&chunk(number)), &places(number, 1)).unwrap();
    }
    assert!(table.is_untidy(600));
}

#[test]
fn what_was_put_in_is_found_after_growth_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chunks");
    let table = ChunkTable::open(&path, &KEY).unwrap();
    for number in 0..20_000 {
        table.insert(&table.hash(&chunk(number)), &places(number, number % 8 + 1)).unwrap();
    }
    table.flush().unwrap();
    let len = table.len();
    drop(table);
    let table = ChunkTable::open(&path, &KEY).unwrap();
    assert_eq!(table.len(), len);
    assert!((0..20_000).all(|number| found(&table, number, number % 8 + 1)));
    assert!((20_000..30_000).all(|number| !found(&table, number, 1)));
    table.retain(&|run, _| run == RunTag(3)).unwrap();
    assert!(table.len() < len / 4);
    for number in 0..20_000 {
        assert_eq!(found(&table, number, number % 8 + 1), number % 5 == 3);
    }
    let other = ChunkTable::open(&path, &[8; 32]).unwrap();
    assert!(other.is_empty());
}

#[test]
fn only_what_is_accepted_and_complete_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let table = ChunkTable::open(&folder.path().join("chunks"), &KEY).unwrap();
    let (hash, mut out) = (table.hash(b"content"), Vec::new());
    let three = [10, 20, 30].map(|len| Place { run: RunTag(1), sequence: len, offset: 0, len });
    table.insert(&hash, &three).unwrap();
    assert!(table.find(&hash, 60, &any, &mut out));
    assert!(!table.find(&hash, 59, &any, &mut out) && !table.find(&hash, 61, &any, &mut out) && !table.find(&hash, 0, &any, &mut out));
    assert!(!table.find(&hash, 60, &|_, sequence| sequence != 20, &mut out));
    assert_eq!(out, three);
    let one = [Place { run: RunTag(2), sequence: 9, offset: 5, len: 60 }];
    table.insert(&hash, &one).unwrap();
    out.clear();
    assert!(table.find(&hash, 60, &any, &mut out));
    assert_eq!(out, one);
    let many = vec![one[0]; PLACES_MAX + 1];
    table.insert(&table.hash(b"many"), &many).unwrap();
    assert!(!table.find(&table.hash(b"many"), 60 * 9, &any, &mut out));
    assert!(table.insert(&hash, &[Place { len: 0, ..one[0] }]).is_err());
}

/// Old and new pieces of one chunk, mixed by a power loss: each says where its own part lies, or nothing is found.
#[test]
fn mixed_generations_of_a_chunk_stay_true() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chunks");
    // The sequence names where in the chunk a piece begins.
    let cut = |lens: [u32; 3]| {
        let mut from = 0;
        lens.map(|len| {
            from += len;
            Place { run: RunTag(1), sequence: from - len, offset: 0, len }
        })
    };
    let write = |lens| {
        let table = ChunkTable::open(&path, &KEY).unwrap();
        table.insert(&table.hash(b"x"), &cut(lens)).unwrap();
        drop(table);
        fs::read(&path).unwrap()
    };
    let old = write([10, 20, 30]);
    let new = write([20, 20, 20]);
    let mut slots: Vec<usize> = (4096..old.len()).filter(|&at| old[at] != new[at]).map(|at| (at - 4096) / 40).collect();
    slots.dedup();
    assert!(slots.len() >= 3, "{slots:?}");
    for mixture in 0..1u32 << slots.len() {
        let mut bytes = new.clone();
        for (_, slot) in slots.iter().enumerate().filter(|(bit, _)| mixture >> bit & 1 == 1) {
            let at = 4096 + slot * 40;
            bytes[at..at + 40].copy_from_slice(&old[at..at + 40]);
        }
        fs::write(&path, &bytes).unwrap();
        let table = ChunkTable::open(&path, &KEY).unwrap();
        let mut out = Vec::new();
        if table.find(&table.hash(b"x"), 60, &any, &mut out) {
            let mut from = 0;
            for place in out {
                assert_eq!(place.sequence, from);
                from += place.len;
            }
        }
    }
}

/// Any flipped byte, any cut, foreign bytes: it opens, and what is found is right.
#[test]
fn a_damaged_file_is_never_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chunks");
    let table = ChunkTable::open(&path, &KEY).unwrap();
    let count = 300;
    (0..count).for_each(|number| table.insert(&table.hash(&chunk(number)), &places(number, 2)).unwrap());
    drop(table);
    let sound = fs::read(&path).unwrap();
    let check = |bytes: &[u8], least: u32| {
        fs::write(&path, bytes).unwrap();
        let table = ChunkTable::open(&path, &KEY).unwrap();
        let had = (0..count).filter(|&number| found(&table, number, 2)).count() as u32;
        assert!(had >= least, "{had} found");
        (0..count).for_each(|number| table.insert(&table.hash(&chunk(number)), &places(number, 2)).unwrap());
        assert!((0..count).all(|number| found(&table, number, 2)));
    };
    for at in (0..64).chain((4096..sound.len()).step_by(37)) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        check(&bytes, if at < 4096 { 0 } else { count - 30 });
    }
    for len in [0, 1, 8, 100, 4095, 4096, 5000, sound.len() - 1, sound.len() + 1, sound.len() * 2] {
        let mut bytes = sound.clone();
        bytes.resize(len, 0);
        check(&bytes, 0);
    }
    check(&vec![0xFF; sound.len()], 0);
    // The header is sound, all slots are torn.
    let mut bytes = sound.clone();
    bytes[4096..].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u8).wrapping_mul(31) | 1);
    check(&bytes, 0);
    // Pages that never reached the disk.
    let mut bytes = sound.clone();
    bytes[8192..16384].fill(0);
    check(&bytes, 1);
}

/// Threads put in, replace and find while the table grows.
#[test]
fn threads_share_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let table = ChunkTable::open(&folder.path().join("chunks"), &KEY).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let table = &table;
            scope.spawn(move || {
                for number in 0..15_000 {
                    // Half of the chunks are every thread's.
                    let number = number * 2 + if number % 2 == 0 { 0 } else { 100_000 * thread };
                    table.insert(&table.hash(&chunk(number)), &places(number, 1 + number % 3)).unwrap();
                    found(table, number / 2, 1 + number / 2 % 3);
                }
            });
        }
    });
    for thread in 0..4 {
        for number in 0..15_000 {
            let number = number * 2 + if number % 2 == 0 { 0 } else { 100_000 * thread };
            assert!(found(&table, number, 1 + number % 3), "{number}");
        }
    }
}
