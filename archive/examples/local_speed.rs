//! Measures the chunk table and the segment cache, in the folder given.

#![expect(clippy::disallowed_methods, reason = "it measures time")]

use archive::local::RunTag;
use archive::local::cache::SegmentCache;
use archive::local::chunks::{ChunkTable, Place};
use std::path::Path;
use std::time::Instant;

fn timed<T>(name: &str, amount: f64, unit: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let out = work();
    let seconds = started.elapsed().as_secs_f64();
    println!("{name:44} {seconds:8.3} s  {:10.2} {unit}/s", amount / seconds);
    out
}

fn chunks(folder: &Path) {
    let path = folder.join("chunks");
    let count = 1_000_000u32;
    let key = [3; 32];
    let table = ChunkTable::open(&path, &key).expect("the folder can be written");
    let hashes: Vec<_> = (0..count).map(|number| table.hash(&number.to_le_bytes())).collect();
    let place = |number: u32| Place { run: RunTag(1), sequence: number / 10, offset: number % 1000, len: 9000 };
    let insert = |table: &ChunkTable| {
        (0..count).for_each(|number| table.insert(&hashes[number as usize], &[place(number)]).expect("room on the disk"))
    };
    let find = |table: &ChunkTable, part: std::ops::Range<u32>| {
        let mut out = Vec::with_capacity(8);
        part.filter(|&number| {
            out.clear();
            table.find(&hashes[number as usize], 9000, &|_, _| true, &mut out)
        })
        .count()
    };
    let million = count as f64 / 1e6;
    timed("chunk table: insert, growing from nothing", million, "M", || insert(&table));
    timed("chunk table: insert again", million, "M", || insert(&table));
    assert_eq!(timed("chunk table: find", million, "M", || find(&table, 0..count)), count as usize);
    let parts = [0..count / 2, count / 2..count];
    timed("chunk table: find on two threads", million, "M", || {
        std::thread::scope(|scope| parts.map(|part| scope.spawn(|| find(&table, part))).map(|thread| thread.join().expect("no panic")))
    });
    timed("chunk table: flush", million, "M", || table.flush().expect("room on the disk"));
    println!("chunk table: {} bytes for {} places", std::fs::metadata(&path).expect("it is there").len(), table.len());
    timed("chunk table: retain half", million, "M", || table.retain(&|_, sequence| sequence % 2 == 0).expect("room on the disk"));
    drop(table);
    timed("chunk table: open", 1.0, "", || ChunkTable::open(&path, &key).expect("it is there"));
}

fn cache(folder: &Path) {
    let folder = folder.join("cache");
    let segment: Vec<u8> = (0..512u32 << 10).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let count = 1024u32;
    let megabytes = count as f64 * segment.len() as f64 / 1e6;
    let open = || SegmentCache::open(&folder, 4 << 30, 1).expect("the folder can be written");
    let cache = open();
    timed("cache: put, 1024 segments of 512 KiB", megabytes, "MB", || {
        (0..count).for_each(|sequence| cache.put(RunTag(1), sequence, &segment).expect("never an error"));
    });
    let mut out = Vec::new();
    timed("cache: get", megabytes, "MB", || {
        assert!((0..count).all(|sequence| { cache.get(RunTag(1), sequence, &mut out).expect("never an error") }));
    });
    timed("cache: put on two threads", 2.0 * megabytes, "MB", || {
        std::thread::scope(|scope| {
            for run in 2..4 {
                let (cache, segment) = (&cache, &segment);
                scope.spawn(move || (0..count).for_each(|sequence| cache.put(RunTag(run), sequence, segment).expect("never an error")));
            }
        });
    });
    cache.finish().expect("room on the disk");
    timed("cache: 17,280 puts of 2 KiB, 173 sessions", 17_280.0, "", || {
        for session in 0..17_280 {
            // Openings are timed below; they grow with the list.
            if session % 100 == 0 {
                open().finish().expect("room on the disk");
            }
        }
        let cache = open();
        (0..17_280).for_each(|session| cache.put(RunTag(9), session, &segment[..2048]).expect("never an error"));
        cache.finish().expect("room on the disk");
    });
    timed("cache: open with 20,352 entries", 1.0, "", open);
}

fn main() {
    let folder = std::env::args().nth(1).expect("the folder to work in is given");
    chunks(Path::new(&folder));
    cache(Path::new(&folder));
}
