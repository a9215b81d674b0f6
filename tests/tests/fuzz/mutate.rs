//! Bytes made nearly right: one to eight changes, of the kinds that parsers fall over.

use tests::chance::Chance;

/// Numbers at the edges, as they stand in bytes.
const EDGES: [&[u8]; 16] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0, 0, 0, 0x80],
    &[0xff; 8],
    &[0; 16],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02],
    &[0x80, 0x80, 0x40],
    b"REND\x01\0\0\0",
    b"RSEG\x01\0\0\0",
    b"RREC\x01\x01\0\0",
];

pub fn mutated(seed: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + chance.below(if chance.clone().one_in(3) { 8 } else { 2 }) {
        change(&mut bytes, other, chance);
    }
    bytes
}

/// A stretch of bytes, mostly short.
fn stretch(len: usize, chance: &mut Chance) -> std::ops::Range<usize> {
    let start = chance.below(len + 1);
    let most = if chance.one_in(4) { len } else { 40 };
    let end = (start + chance.below(most + 1)).min(len);
    start..end
}

fn change(bytes: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let len = bytes.len();
    let at = chance.below(len + 1);
    match chance.below(11) {
        0 if len > 0 => bytes[at.min(len - 1)] ^= 1 << chance.below(8),
        1 if len > 0 => bytes[at.min(len - 1)] = chance.word() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(stretch(len, chance))),
        4 => {
            let from = stretch(other.len(), chance);
            bytes.splice(at..at, other[from].iter().copied());
        }
        5 => {
            let (from, to) = (stretch(other.len(), chance), stretch(len, chance));
            bytes.splice(to, other[from].iter().copied());
        }
        6 => {
            let again = bytes[stretch(len, chance)].to_vec();
            (0..1 + chance.below(4)).for_each(|_| drop(bytes.splice(at..at, again.iter().copied())));
        }
        7 => {
            let edge = EDGES[chance.below(EDGES.len())];
            let end = if chance.one_in(3) { at } else { (at + edge.len()).min(len) };
            bytes.splice(at..end, edge.iter().copied());
        }
        8 if len > 0 => {
            let at = at.min(len - 1);
            bytes[at] = bytes[at].wrapping_add(if chance.one_in(2) { 1 } else { 255 });
        }
        9 => {
            let count = chance.below(30);
            let new = chance.noise(count);
            bytes.splice(at..at, new);
        }
        _ => bytes.resize(len + chance.below(100), 0),
    }
    // A mutation that grows without end shows nothing new.
    bytes.truncate(1 << 20);
}
