//! Two tools of the matcher: comparing byte by byte, only fast, and a table of where blocks of the base lie.
//!
//! The table is stamped instead of cleared: each block put in gets a number above all numbers before, so whatever
//! stands below the first number of the present window is empty space. A window that moves forward keeps its blocks.
//! The first block put in under a hash stays: in runs of equal blocks the earliest has the longest way to go.
//!
//! It finds candidates only; whoever asks compares the bytes.

/// Bytes that are hashed together.
pub(super) const BLOCK: usize = 16;

/// The eight bytes at `at`, which must lie within `bytes`.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

/// How many bytes two stretches share from their beginnings on.
#[inline]
pub(super) fn equal_forward(one: &[u8], other: &[u8]) -> usize {
    const WIDE: usize = 1024;
    let len = one.len().min(other.len());
    let mut at = 0;
    while at + 8 <= len {
        let difference = word(one, at) ^ word(other, at);
        if difference != 0 {
            return at + (difference.trailing_zeros() / 8) as usize;
        }
        at += 8;
        // A library comparison of a whole stretch uses the widest registers there are.
        if at & 63 == 0 {
            while at + WIDE <= len && one[at..at + WIDE] == other[at..at + WIDE] {
                at += WIDE;
            }
        }
    }
    while at < len && one[at] == other[at] {
        at += 1;
    }
    at
}

/// How many bytes two stretches share from their ends backward.
pub(super) fn equal_backward(one: &[u8], other: &[u8]) -> usize {
    let len = one.len().min(other.len());
    let (one, other) = (&one[one.len() - len..], &other[other.len() - len..]);
    let mut left = len;
    while left >= 8 {
        let difference = word(one, left - 8) ^ word(other, left - 8);
        if difference != 0 {
            return len - left + (difference.leading_zeros() / 8) as usize;
        }
        left -= 8;
    }
    while left > 0 && one[left - 1] == other[left - 1] {
        left -= 1;
    }
    len - left
}

#[inline(always)]
pub(super) fn equal_block(one: &[u8], other: &[u8]) -> bool {
    (word(one, 0) ^ word(other, 0)) | (word(one, 8) ^ word(other, 8)) == 0
}

/// The low eight bits of a slot are a few more bits of its block's hash, so that most wrong candidates fall at once.
const TAG_BITS: u32 = 8;
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;
const NUMBER_MAX: u32 = u32::MAX >> TAG_BITS;
const TAIL: usize = 256;
/// A generation ends after so many blocks.
const GENERATION: u32 = NUMBER_MAX / 4;

#[inline(always)]
fn hash(block: &[u8]) -> u64 {
    let first = word(block, 0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let second = word(block, 8).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    first.wrapping_add(second.rotate_left(31)).wrapping_mul(0xA24B_AED4_963E_E407)
}

#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 24) as u32 & TAG_MASK
}

/// Where blocks of the present window lie, every `stride` bytes.
pub(super) struct Index {
    slots: Vec<u32>,
    stride: usize,
    shift: u32,
    /// Base offset of the first block of this generation, and its number.
    origin: u64,
    first: u32,
    /// Number of the next block to be put in.
    next: u32,
    /// Numbers below this lie before the window.
    low: u32,
    /// The bytes before the last one looked at and the offset behind them: by these a window shows that it belongs
    /// to the same base. Were it another, nothing wrong would be found, only nothing.
    tail: Vec<u8>,
    tail_end: u64,
    proven: bool,
}

impl Index {
    pub(super) fn new(stride: usize) -> Self {
        Self {
            slots: Vec::new(),
            stride,
            shift: 0,
            origin: 0,
            first: 1,
            next: 1,
            low: 1,
            tail: Vec::new(),
            tail_end: 0,
            proven: true,
        }
    }

    /// The next window may be one of another base.
    pub(super) fn doubt(&mut self) {
        self.proven = false;
    }

    /// Forgets everything. What is put in next is spread over `1 << bits` slots at most.
    fn restart(&mut self, bits: u32, origin: u64) {
        if self.slots.len() < 1 << bits {
            self.slots.resize(1 << bits, 0);
        }
        // Numbers must not run out within a generation; its last window may go beyond its end.
        if self.next > NUMBER_MAX - 2 * GENERATION {
            self.slots.fill(0);
            self.next = 1;
        }
        self.shift = 64 - bits;
        self.origin = origin;
        self.first = self.next;
        self.low = self.next;
    }

    /// Base offset up to which blocks are in.
    fn covered(&self) -> u64 {
        self.origin + (self.next - self.first) as u64 * self.stride as u64
    }

    /// How many bytes of a window are not yet covered; all of it when the window does not continue this generation.
    pub(super) fn missing(&self, start: u64, window: &[u8]) -> usize {
        if !self.continues(start, window) {
            return window.len();
        }
        (start + window.len() as u64).saturating_sub(self.covered()) as usize
    }

    fn continues(&self, start: u64, window: &[u8]) -> bool {
        let room = self.next - self.first < GENERATION;
        let beside = !self.slots.is_empty() && room && start >= self.origin && start <= self.covered();
        beside && (self.proven || self.is_same_base(start, window))
    }

    fn is_same_base(&self, start: u64, window: &[u8]) -> bool {
        let from = self.tail_end.saturating_sub(self.tail.len() as u64);
        if self.tail.is_empty() || from < start || self.tail_end > start + window.len() as u64 {
            return false;
        }
        window[(from - start) as usize..].starts_with(&self.tail)
    }

    /// Makes the table hold the blocks of this window and no earlier ones.
    pub(super) fn cover(&mut self, bits: u32, start: u64, window: &[u8]) {
        if !self.continues(start, window) || self.shift != 64 - bits {
            self.restart(bits, start);
        }
        self.put_in(start, window);
        self.proven = true;
        self.tail.clear();
        self.tail.extend_from_slice(&window[window.len().saturating_sub(TAIL)..]);
        self.tail_end = start + window.len() as u64;
    }

    /// The same for a window that is used once.
    pub(super) fn cover_once(&mut self, bits: u32, start: u64, window: &[u8]) {
        self.restart(bits, start);
        self.put_in(start, window);
    }

    fn put_in(&mut self, start: u64, window: &[u8]) {
        self.low = self.first + (start - self.origin).div_ceil(self.stride as u64) as u32;
        let mut at = (self.covered() - start) as usize;
        while at + BLOCK <= window.len() {
            let hash = hash(&window[at..at + BLOCK]);
            let slot = &mut self.slots[(hash >> self.shift) as usize];
            if *slot >> TAG_BITS < self.low {
                *slot = self.next << TAG_BITS | tag(hash);
            }
            self.next += 1;
            at += self.stride;
        }
    }

    /// Base offset where the given block may lie.
    #[inline(always)]
    pub(super) fn candidate(&self, block: &[u8]) -> Option<u64> {
        let hash = hash(block);
        let slot = self.slots[(hash >> self.shift) as usize];
        let number = slot >> TAG_BITS;
        // One condition, so that there is one branch to foresee.
        if (slot & TAG_MASK == tag(hash)) & (number >= self.low) {
            return Some(self.origin + (number - self.first) as u64 * self.stride as u64);
        }
        None
    }
}
