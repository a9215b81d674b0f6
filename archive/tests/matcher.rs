//! The matcher: pieces tile the new bytes, copies are true, and what can be found is found.

use archive::matcher::{Base, Matcher, Piece};
use proptest::prelude::*;
use std::io;

struct Bytes {
    bytes: Vec<u8>,
    /// These stretches of 64 KiB are not to be had.
    missing: Vec<u64>,
    scattered: bool,
    /// How many bytes were asked for.
    asked: usize,
}

impl Base for Bytes {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_scattered(&self) -> bool {
        self.scattered
    }

    fn window(&mut self, start: u64, len: usize) -> io::Result<Option<&[u8]>> {
        assert!(len > 0 && len <= 4 << 20 && start + len as u64 <= self.len());
        self.asked += len;
        let touched = start >> 16..=(start + len as u64 - 1) >> 16;
        match self.missing.iter().any(|stretch| touched.contains(stretch)) {
            true => Ok(None),
            false => Ok(Some(&self.bytes[start as usize..start as usize + len])),
        }
    }
}

fn random(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes that are not copied, after all that must hold was checked.
fn literals(old: &[u8], new: &[u8], guess: u64, missing: &[u64], matcher: &mut Matcher) -> usize {
    let mut base = Bytes { bytes: old.to_vec(), missing: missing.to_vec(), scattered: false, asked: 0 };
    literals_of(&mut base, new, guess, matcher)
}

fn literals_of(base: &mut Bytes, new: &[u8], guess: u64, matcher: &mut Matcher) -> usize {
    let old = base.bytes.clone();
    let mut pieces = Vec::new();
    let drift = matcher.pieces(new, guess, base, &mut pieces).expect("memory gives its bytes");
    let (mut at, mut literal, mut last) = (0usize, 0, None);
    for piece in &pieces {
        match *piece {
            Piece::Copy { base, len } => {
                assert!(len > 0);
                assert_eq!(new[at..at + len as usize], old[base as usize..base as usize + len as usize]);
                last = Some(base as i64 - at as i64);
                at += len as usize;
            }
            Piece::Literal { len } => {
                assert!(len > 0);
                at += len as usize;
                literal += len as usize;
            }
        }
    }
    assert_eq!(at, new.len());
    assert_eq!(drift, last);
    literal
}

fn found(old: &[u8], new: &[u8]) -> usize {
    literals(old, new, 0, &[], &mut Matcher::new())
}

/// Each kind of change costs about its own bytes.
#[test]
fn each_kind_of_change_is_found() {
    let old = random(4 << 20, 1);
    let fresh = random(300_000, 2);
    for len in [1, 100, 3000, 20_000, 300_000] {
        let inserted = [&old[..1_000_000], &fresh[..len], &old[1_000_000..3_500_000]].concat();
        assert!(found(&old, &inserted) <= len + 64, "insertion of {len}");
        let deleted = [&old[..1_000_000], &old[1_000_000 + len..]].concat();
        assert!(found(&old, &deleted) <= 64, "deletion of {len}");
        let mut overwritten = old.clone();
        overwritten[2_000_000..2_000_000 + len].copy_from_slice(&fresh[..len]);
        assert!(found(&old, &overwritten) <= len + 64, "overwriting of {len}");
        let appended = [&old[1 << 20..], &fresh[..len]].concat();
        assert!(literals(&old, &appended, 1 << 20, &[], &mut Matcher::new()) <= len + 64, "appending of {len}");
    }
    let moved = [&old[..500_000], &old[1_500_000..1_800_000], &old[500_000..1_500_000], &old[1_800_000..]].concat();
    assert!(found(&old, &moved) <= 200);
    let swapped: Vec<u8> = old.chunks(8192).flat_map(|pair| [&pair[4096..], &pair[..4096]]).flatten().copied().collect();
    let literal = found(&old, &swapped);
    assert!(literal <= 40_000, "pages changed places: {literal}");
    assert!(literals(&old, &old[2_000_000..3_000_000], 500_000, &[], &mut Matcher::new()) <= 64, "a wrong guess");
}

#[test]
fn rows_in_another_order_are_found() {
    let old = random(2 << 20, 3);
    let mut rows: Vec<&[u8]> = old.chunks(150).collect();
    rows.sort_by_key(|row| row[0]);
    assert!(found(&old, &rows.concat()) < old.len() / 50);
}

/// Zeros that happen to stand at the same offset are no reason to stay where everything else has moved on.
#[test]
fn pages_with_room_in_them_are_found_where_they_moved_to() {
    for (page, room) in [(16 << 10, 600), (16 << 10, 3000), (32 << 10, 600), (64 << 10, 2000)] {
        let mut old = random(4 << 20, 5);
        old.chunks_mut(page).for_each(|page| page[1000..1000 + room].fill(0));
        let inserted = [&random(page, 6)[..], &old].concat();
        let literal = found(&old, &inserted);
        assert!(literal < 4 * page, "pages of {page}, {room} of them zeros: {literal}");
        let literal = found(&old, &old[page..]);
        assert!(literal < 4 * page, "one gone of pages of {page}, {room} of them zeros: {literal}");
    }
}

/// Pages that are rewritten in place: the far searches that find nothing are soon left out, and come back as soon as something moved.
#[test]
fn pages_that_are_rewritten_in_place_need_few_far_windows() {
    const PAGE: usize = 16 << 10;
    let (old, fresh) = (random(32 << 20, 7), random(32 << 20, 8));
    let mut new = old.clone();
    for page in (0..new.len() / PAGE).filter(|page| page * 7919 % 50 == 3) {
        let range = page * PAGE..(page + 1) * PAGE;
        new[range.clone()].copy_from_slice(&fresh[range]);
    }
    let (mut base, mut matcher) = (Bytes { bytes: old.clone(), missing: vec![], scattered: false, asked: 0 }, Matcher::new());
    for (number, region) in new.chunks(4 << 20).enumerate() {
        matcher.pieces(region, (number as u64) << 22, &mut base, &mut vec![]).unwrap();
    }
    assert!(base.asked < 2 * old.len(), "{} MiB asked for", base.asked >> 20);
    let swapped: Vec<u8> = old[..8 << 20]
        .chunks(PAGE)
        .flat_map(|pair| [&pair[4096..], &pair[..4096]])
        .flatten()
        .copied()
        .collect();
    let lost: Vec<usize> = swapped
        .chunks(4 << 20)
        .enumerate()
        .map(|(number, region)| literals(&old, region, (number as u64) << 22, &[], &mut matcher))
        .collect();
    assert!(lost[0] < 1 << 20 && lost[1] < 50_000, "{lost:?}");
}

/// What is missing of the base costs itself only.
#[test]
fn missing_windows_become_literals() {
    let old = random(4 << 20, 4);
    let literal = literals(&old, &old, 0, &[5, 6, 40], &mut Matcher::new());
    assert!((3 << 16..6 << 16).contains(&literal), "{literal}");
    let all: Vec<u64> = (0..64).collect();
    assert_eq!(literals(&old, &old, 0, &all, &mut Matcher::new()), old.len());
    assert_eq!(literals(&[], &old, 0, &[], &mut Matcher::new()), old.len());
    assert_eq!(literals(&old, &[], 77, &[], &mut Matcher::new()), 0);
    assert_eq!(literals(&old[..100], &old[2_000_000..], 1 << 40, &[], &mut Matcher::new()), old.len() - 2_000_000);
}

/// Where the base's bytes cost much to get, pages that were written anew do not make it read megabytes around them.
#[test]
fn pages_written_anew_in_a_scattered_base_are_passed_over() {
    let old = random(4 << 20, 6);
    let mut new = old[2 << 20..(2 << 20) + (64 << 10)].to_vec();
    new[8192..8192 + 4096].copy_from_slice(&random(4096, 7));
    new[24576..24576 + 16384].copy_from_slice(&random(16384, 8));
    let asked = |scattered| {
        let mut base = Bytes { bytes: old.clone(), missing: vec![], scattered, asked: 0 };
        assert!(literals_of(&mut base, &new, 2 << 20, &mut Matcher::new()) <= 4096 + 16384 + 64);
        base.asked
    };
    assert!(asked(true) <= 256 << 10, "it stays near");
    assert!(asked(false) >= 2 << 20, "elsewhere it looks further, for what may have moved");
}

/// One matcher for many bases: knowledge of one never harms another.
#[test]
fn a_matcher_can_turn_to_another_base() {
    let mut matcher = Matcher::new();
    for seed in 1..12 {
        let old = random(1 << 20, seed);
        let new = [&old[700_000..], &old[..700_000]].concat();
        assert!(literals(&old, &new, 0, &[], &mut matcher) <= 64, "base {seed}");
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Overwrite(usize, Vec<u8>),
    Move(usize, usize, usize),
    Zero(usize, usize),
    Repeat(usize, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0usize..400_000;
    let bytes =
        || prop_oneof![prop::collection::vec(any::<u8>(), 0..300), (0usize..9000, any::<u64>()).prop_map(|(len, seed)| random(len, seed))];
    prop_oneof![
        (at.clone(), bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at.clone(), 0usize..20_000).prop_map(|(at, len)| Edit::Delete(at, len)),
        (at.clone(), bytes()).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
        (at.clone(), at.clone(), 0usize..50_000).prop_map(|(from, to, len)| Edit::Move(from, to, len)),
        (at.clone(), 0usize..30_000).prop_map(|(at, len)| Edit::Zero(at, len)),
        (at, 1usize..70, 0usize..500).prop_map(|(at, len, times)| Edit::Repeat(at, len, times)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let cut = |bytes: &Vec<u8>, at: usize, len: usize| (at.min(bytes.len()), (at + len).min(bytes.len()));
    match edit {
        Edit::Insert(at, new) => {
            let at = (*at).min(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
        Edit::Delete(at, len) => {
            let (from, to) = cut(bytes, *at, *len);
            bytes.drain(from..to);
        }
        Edit::Overwrite(at, new) => {
            let (from, to) = cut(bytes, *at, new.len());
            bytes[from..to].copy_from_slice(&new[..to - from]);
        }
        Edit::Move(at, target, len) => {
            let (from, to) = cut(bytes, *at, *len);
            let part: Vec<u8> = bytes.drain(from..to).collect();
            let target = (*target).min(bytes.len());
            bytes.splice(target..target, part);
        }
        Edit::Zero(at, len) => {
            let (from, to) = cut(bytes, *at, *len);
            bytes[from..to].fill(0);
        }
        Edit::Repeat(at, len, times) => {
            let (from, to) = cut(bytes, *at, *len);
            let part = bytes[from..to].repeat(*times);
            bytes.splice(from..from, part);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever was done to base and new, the pieces are true; and the literals are about what was put in.
    #[test]
    fn pieces_tile_and_are_true(
        seed in any::<u64>(),
        before in prop::collection::vec(edit(), 0..8),
        after in prop::collection::vec(edit(), 0..12),
        guess in prop_oneof![Just(0u64), 0u64..600_000, any::<u32>().prop_map(u64::from)],
        missing in prop::collection::vec(0u64..10, 0..3),
    ) {
        let mut old = random(300_000, seed);
        before.iter().for_each(|edit| apply(&mut old, edit));
        let mut new = old.clone();
        after.iter().for_each(|edit| apply(&mut new, edit));
        let mut matcher = Matcher::new();
        let put_in: usize = after.iter().map(|edit| match edit {
            Edit::Insert(_, bytes) | Edit::Overwrite(_, bytes) => bytes.len(),
            Edit::Zero(_, len) => *len,
            Edit::Repeat(_, len, times) => len * times,
            // What was moved far is looked for only when it is longer than the near searches reach.
            Edit::Move(_, _, len) => (*len).min(8192),
            Edit::Delete(..) => 0,
        }).sum();
        let literal = literals(&old, &new, guess, &missing, &mut matcher);
        if missing.is_empty() && guess < 600_000 {
            prop_assert!(literal <= put_in + 400 * (after.len() + 1), "{literal} literal bytes for {put_in}");
        }
        literals(&new, &old, guess, &[], &mut matcher);
    }
}
