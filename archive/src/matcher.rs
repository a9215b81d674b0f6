//! Finds what a stretch of new bytes shares with the base's bytes near the same place.
//!
//! While new and base run side by side they are only compared, at the speed of memory. At a difference the matcher
//! looks for the place to go on: first at the same offset (records of fixed size keep it), then in a few hundred and
//! a few thousand bytes around (a changed row), then in megabytes around (insertions, moves, another order). The far
//! search has an index that moves along with it, so its cost is spread over the way; the near ones build a small index
//! each time, and pay for it from the way made since: too many of them in too few bytes, and the far search takes over
//! for a while. The index of a new far place is paid from the bytes seen before. So no input costs more than a fixed
//! time per byte. Where far searches were in vain, a long match at the same offset saves the next ones, as long as that
//! leaps over no more than some times what they looked through: pages that are rewritten in place need no far window.
//!
//! Pieces tile the new bytes; a copy is always equal to the base's bytes, as `Base` gave them.
//!
//! It does not look for what lies further away than two megabytes, nor inside the new bytes themselves, and it keeps
//! the first match that is long enough, not the longest.

use std::io;

mod index;
mod view;
mod walk;

use index::Index;
use view::View;
use walk::{CREDIT_START, FAR_STRIDE, LEAP_MAX, NEAR_STRIDE, Walk};

/// A part of the new bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes lie in the base, at `base`.
    Copy { base: u64, len: u32 },
    /// These bytes are new.
    Literal { len: u32 },
}

/// The bytes that new ones are compared with.
pub trait Base {
    /// Number of bytes.
    fn len(&self) -> u64;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether many bytes around a place cost much to get. Then what is moved far is not looked for where the same offset soon matches again.
    fn is_scattered(&self) -> bool {
        false
    }

    /// The bytes from `start` on, exactly `len` of them; at most 4 MiB are asked for, none beyond the end. `None`
    /// when some of them are not to be had; then a smaller window is asked for, and at last the place is passed over.
    fn window(&mut self, start: u64, len: usize) -> io::Result<Option<&[u8]>>;
}

/// Finds copies. Keep one per thread: its tables are used again.
pub struct Matcher {
    near: Index,
    far: Index,
    /// What searches may cost, and what may be leapt over without one.
    credit: (i64, usize),
}

impl Default for Matcher {
    fn default() -> Self {
        Self::new()
    }
}

impl Matcher {
    pub fn new() -> Self {
        Self { near: Index::new(NEAR_STRIDE), far: Index::new(FAR_STRIDE), credit: (CREDIT_START, 0) }
    }

    /// Appends to `out` the pieces that tile `new`, whose first byte is expected at `guess` in the base. Returns the
    /// drift of the last copy (its offset in the base less its offset in `new`), `None` when nothing matched.
    pub fn pieces(&mut self, new: &[u8], guess: u64, base: &mut dyn Base, out: &mut Vec<Piece>) -> io::Result<Option<i64>> {
        let base_len = base.len();
        if base.is_scattered() {
            self.credit.1 = LEAP_MAX;
        }
        let mut walk = Walk::new(new, guess, self.credit, out);
        self.far.doubt();
        while walk.at < new.len() {
            let far = walk.is_far();
            let (start, len) = walk.window(base_len);
            if len == 0 {
                walk.nothing_there();
                continue;
            }
            match base.window(start, len)? {
                None => walk.not_to_be_had(),
                Some(bytes) => {
                    let view = View { bytes, start, base_len };
                    walk.turn = 0;
                    match far {
                        true => walk.far(&mut self.far, &view),
                        false => walk.near(&mut self.near, &view),
                    }
                }
            }
        }
        let matched;
        (matched, self.credit) = walk.finish();
        Ok(matched)
    }
}
