//! Measures the matcher: two files, or made-up data when none are given.

use archive::matcher::{Base, Matcher, Piece};
use std::io;

struct Bytes<'a>(&'a [u8]);

impl Base for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn window(&mut self, start: u64, len: usize) -> io::Result<Option<&[u8]>> {
        Ok(Some(&self.0[start as usize..start as usize + len]))
    }
}

/// Matches in stretches, as an export does, and prints what was found.
fn measure(name: &str, old: &[u8], new: &[u8], stretch: usize) {
    let mut matcher = Matcher::new();
    let mut pieces = Vec::new();
    let (mut drift, mut from) = (0i64, 0);
    let started = cpu_seconds();
    while from < new.len() {
        let part = &new[from..new.len().min(from + stretch)];
        let guess = (from as i64 + drift).max(0) as u64;
        let found = matcher.pieces(part, guess, &mut Bytes(old), &mut pieces).expect("memory gives its bytes");
        if let Some(found) = found {
            drift = found - from as i64;
        }
        from += part.len();
    }
    let seconds = cpu_seconds() - started;
    let (mut copies, mut literal, mut at) = (0, 0u64, 0usize);
    let (mut text, mut list, mut end) = (Vec::new(), Vec::new(), 0u64);
    for piece in &pieces {
        match *piece {
            Piece::Copy { base, len } => {
                assert!(new[at..at + len as usize] == old[base as usize..base as usize + len as usize]);
                copies += 1;
                at += len as usize;
                varint(&mut list, len as u64 * 16);
                let step = base as i64 - end as i64;
                varint(&mut list, ((step << 1) ^ (step >> 63)) as u64);
                end = base + len as u64;
            }
            Piece::Literal { len } => {
                text.extend_from_slice(&new[at..at + len as usize]);
                literal += len as u64;
                at += len as usize;
                varint(&mut list, len as u64 * 16 + 1);
                varint(&mut list, 0);
            }
        }
    }
    assert_eq!(at, new.len());
    let packed = |bytes: &[u8]| {
        bytes
            .chunks(1 << 20)
            .map(|part| zstd::bulk::compress(part, 3).map_or(0, |out| out.len()))
            .sum::<usize>()
    };
    println!(
        "{name:28} {:7.0} MB/s  copies {copies:7}  literal {literal:10}  packed {:9}  list {:9} packed {:8}",
        new.len() as f64 / seconds / 1e6,
        packed(&text),
        list.len(),
        packed(&list),
    );
}

/// Time of the processor: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn random(len: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        out.extend_from_slice(&seed.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [old, new] = &arguments[..] {
        let old = std::fs::read(old).expect("the base can be read");
        let new = std::fs::read(new).expect("the new file can be read");
        for stretch in [4 << 20, 1 << 20, 64 << 10] {
            measure(&format!("file, stretches of {} KiB", stretch >> 10), &old, &new, stretch);
        }
        return;
    }
    let len = 64 << 20;
    let noise = random(len, 1);
    let zeros = vec![0; len];
    measure("equal", &noise, &noise, 4 << 20);
    measure("unrelated random", &noise, &random(len, 2), 4 << 20);
    measure("unrelated random, 64 KiB", &noise, &random(len, 2), 64 << 10);
    measure("zeros on zeros", &zeros, &zeros[..len - 1], 4 << 20);
    measure("zeros on random", &noise, &zeros, 4 << 20);
    measure("random on zeros", &zeros, &noise, 4 << 20);
    for period in [1, 3, 7, 16, 24, 37, 48, 63, 64] {
        let one: Vec<u8> = noise[..period].iter().copied().cycle().take(len).collect();
        let other: Vec<u8> = noise[1..=period].iter().copied().cycle().take(len).collect();
        measure(&format!("period {period} against another"), &one, &other, 4 << 20);
        for gap in [20, 40, 70, 1000] {
            let mut marred = one.clone();
            for at in (0..len).step_by(gap) {
                marred[at] ^= noise[at] | 1;
            }
            measure(&format!("period {period}, marred each {gap}"), &one, &marred, 4 << 20);
            if period == 37 {
                measure("  both marred", &marred[gap / 2..], &marred, 4 << 20);
            }
        }
    }
    for row in [60, 117, 400, 4096] {
        for spread in [16, 64, 1000, 8000] {
            let mut order: Vec<usize> = (0..len / row).collect();
            for (number, group) in order.chunks_mut(spread).enumerate() {
                group.sort_by_key(|row| (*row as u64 ^ number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20);
            }
            if row * spread > 2 << 20 {
                continue;
            }
            let mixed: Vec<u8> = order.iter().flat_map(|at| &noise[at * row..(at + 1) * row]).copied().collect();
            measure(&format!("rows of {row} mixed by {spread}"), &noise, &mixed, 4 << 20);
        }
    }
    for every in [100, 200, 400, 1000, 10_000] {
        let mut edited = Vec::new();
        for (number, part) in noise.chunks(every).enumerate() {
            edited.extend_from_slice(part);
            edited.extend_from_slice(&number.to_le_bytes()[..5]);
        }
        measure(&format!("five bytes inserted each {every}"), &noise, &edited, 4 << 20);
    }
    for page in [1usize, 7, 30] {
        let mut edited = noise.clone();
        let other = random(4096, 5);
        for at in (0..len / 4096).filter(|at| at.wrapping_mul(2654435761) % 100 < page) {
            edited[at * 4096..][..4096].copy_from_slice(&other);
            edited[at * 4096] = at as u8;
        }
        measure(&format!("{page} % of pages rewritten"), &noise, &edited, 4 << 20);
    }
}
