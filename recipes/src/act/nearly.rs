//! What is nearly right, for parsers of what comes from a network or a file. A seed gives the same again; failures name it.

/// Ten times as many when the environment asks for the long run.
const CASES: u64 = 20_000;

/// Numbers at the edges, as they stand in messages, and words at which texts turn.
const EDGES: [&[u8]; 24] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0x80],
    &[0xc0, 0x0c],
    &[0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0, 0, 0, 0x80],
    &[0; 16],
    b"(",
    b")",
    b"\"",
    b"\\",
    b"\\0",
    b";",
    b"\n",
    b"\r\n",
    b"\n ",
    b"\t",
    b"$ORIGIN a\n",
    b"@ ",
    b"4294967296",
    b" IN ",
    b"..",
];

pub struct Chance(u64);

impl Chance {
    fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.word() as usize % end }
    }
}

/// Hands each case to a parser: the seeds themselves, and then what one to six changes make of them.
pub fn nearly(name: &str, seeds: &[Vec<u8>], parse: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    seeds.iter().for_each(|seed| parse(seed));
    let many = if std::env::var_os("RESILIENT_LONG").is_some() { CASES * 10 } else { CASES };
    for case in 0..many {
        let mut chance = Chance((case + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut bytes = seeds[chance.below(seeds.len())].clone();
        for _ in 0..1 + chance.below(6) {
            let other = &seeds[chance.below(seeds.len())];
            change(&mut bytes, other, &mut chance);
        }
        if std::panic::catch_unwind(|| parse(&bytes)).is_err() {
            panic!("{name}, case {case}: {:?}", bytes.escape_ascii().to_string());
        }
    }
}

fn stretch(length: usize, chance: &mut Chance) -> std::ops::Range<usize> {
    let start = chance.below(length + 1);
    start..(start + chance.below(30)).min(length)
}

fn change(bytes: &mut Vec<u8>, other: &[u8], chance: &mut Chance) {
    let at = chance.below(bytes.len());
    match chance.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
        1 if !bytes.is_empty() => bytes[at] = chance.word() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(stretch(bytes.len(), chance))),
        4 => drop(bytes.splice(at..at, other[stretch(other.len(), chance)].iter().copied())),
        5 => {
            let again = bytes[stretch(bytes.len(), chance)].repeat(1 + chance.below(40));
            drop(bytes.splice(at..at, again));
        }
        _ => {
            let edge = EDGES[chance.below(EDGES.len())];
            let end = if chance.below(2) == 0 { at } else { (at + edge.len()).min(bytes.len()) };
            drop(bytes.splice(at..end, edge.iter().copied()));
        }
    }
    // What grows without end shows nothing new.
    bytes.truncate(1 << 16);
}
