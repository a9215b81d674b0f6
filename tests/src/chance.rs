//! Chance that can be had again: a seed gives the same numbers everywhere.

/// Xorshift, good enough to choose where to hurt.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        let mixed = (seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Chance((mixed ^ (mixed >> 29)) | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.word() >> 11) as usize % end }
    }

    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// Bytes that do not compress.
    pub fn noise(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.word().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

/// Bytes that do not compress, told by a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    Chance::new(seed).noise(len)
}

/// A budget of repetitions: ten times as many when the environment asks for the long run.
pub fn budget(normal: usize) -> usize {
    if std::env::var_os("RESILIENT_LONG").is_some() { normal * 10 } else { normal }
}
