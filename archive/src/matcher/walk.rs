//! One walk through a stretch of new bytes, beside the base's bytes that are in sight.
//!
//! It asks for windows and is given views of them; where it stands, and what it owes for its searches, is kept between
//! views. Every byte before `done` has its piece, and `done <= run <= at`.
//!
//! It reads nothing itself.

use super::Piece;
use super::index::{BLOCK, Index, equal_backward, equal_block, equal_forward};
use super::view::View;

/// A shorter match costs more in the list of extents than it saves.
const MATCH_MIN: usize = 48;
/// Beside the neighbouring stretch a match most often continues that one's extent.
const EDGE_MIN: usize = 16;
/// Leaving the drift and coming back to it costs one extent more.
const MATCH_BETWEEN: usize = 56;
/// How many bytes of a match are looked at before it is taken; it may be longer.
const LOOK: usize = 256;

/// Reach of the near searches, and how many slots their index has, as a power of two.
const NEAR: [(usize, u32); 2] = [(512, 9), (4096, 12)];
pub(super) const NEAR_STRIDE: usize = 16;
/// How far on a long match at the same offset is looked for before the far search: pages of a database are rewritten whole.
const SAME_REACH: usize = 65 << 10;
/// So many bytes may be leapt over for each that the far searches of earlier stretches looked through in vain: what has moved may lie there, and zeros look like a match.
const LEAP_PER_BYTE: usize = 16;
pub(super) const LEAP_MAX: usize = 1 << 20;
const SAME_BYTES_PER_UNIT: usize = 64;
const NEAR_REACH: usize = 2 * NEAR[1].0;
/// Windows of the near searches: so much before the place, and so much after it, by turns when bytes are missing.
const NEAR_BEHIND: usize = 16 << 10;
const NEAR_AHEAD: [usize; 2] = [1 << 20, 48 << 10];

/// Reach of the far search, by turns when bytes are missing.
const FAR: [usize; 2] = [2 << 20, 256 << 10];
pub(super) const FAR_STRIDE: usize = 32;
const FAR_BITS: u32 = 19;
/// A match as long as this shows where the far window belongs.
const FAR_ANCHOR: usize = 64 << 10;
/// How long the far search goes on after it was needed: doubled each time within a stretch.
const FAR_HOLD: [usize; 2] = [16 << 10, 4 << 20];

/// The longer nothing was found, the fewer places are looked at: up to so many bytes, one place in so many. The steps
/// are odd, so that in a long match one of them soon falls on a block of the index.
const STEPS: [(usize, usize); 4] = [(4 << 10, 1), (32 << 10, 3), (256 << 10, 5), (usize::MAX, 7)];

/// Where effort is weighed, one unit is about a nanosecond.
const STRAIN_MAX: i64 = 20_000;
pub(super) const CREDIT_START: i64 = 2 << 20;
const CREDIT_MAX: i64 = 8 << 20;
const INDEXED_PER_UNIT: usize = 8;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Near,
    Far,
    /// Nothing more can be found.
    Over,
}

/// A place to go on: `new[at..]` and the base at `at + drift` are equal for some bytes, at least `len`.
#[derive(Clone, Copy)]
struct Hit {
    at: usize,
    drift: i64,
    len: usize,
}

pub(super) struct Walk<'a> {
    new: &'a [u8],
    out: &'a mut Vec<Piece>,
    mode: Mode,
    /// Everything before has its pieces.
    done: usize,
    /// `new[run..at]` is equal to the base at `drift`, and not yet a piece.
    run: usize,
    pub(super) at: usize,
    drift: i64,
    matched: Option<i64>,
    /// Where the far window belongs.
    anchor: i64,
    far_until: usize,
    far_hold: usize,
    /// Where far searches are possible again.
    far_from: usize,
    /// Which size of window is tried.
    pub(super) turn: usize,
    strain: i64,
    credit: i64,
    /// How many bytes may be leapt over, unsearched, to a long match at the same offset.
    leap: usize,
    /// What comes to that for the next stretch.
    in_vain: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(new: &'a [u8], guess: u64, (credit, leap): (i64, usize), out: &'a mut Vec<Piece>) -> Self {
        let drift = guess as i64;
        Self {
            new,
            out,
            mode: Mode::Near,
            done: 0,
            run: 0,
            at: 0,
            drift,
            matched: None,
            anchor: drift,
            far_until: 0,
            far_hold: FAR_HOLD[0],
            far_from: 0,
            turn: 0,
            strain: 0,
            credit,
            leap,
            in_vain: 0,
        }
    }

    /// Gives what is left its pieces. Returns the drift of the last copy, and the credit and leap for the next stretch.
    pub(super) fn finish(mut self) -> (Option<i64>, (i64, usize)) {
        self.close_run();
        self.literal_up_to(self.new.len());
        let credit = (self.credit + self.new.len() as i64).min(CREDIT_MAX);
        (self.matched, (credit, (self.leap + self.in_vain * LEAP_PER_BYTE).min(LEAP_MAX)))
    }

    pub(super) fn is_far(&self) -> bool {
        self.mode == Mode::Far
    }

    /// The window to ask for: start and length.
    pub(super) fn window(&self, base_len: u64) -> (u64, usize) {
        let (behind, ahead, drift) = match self.mode {
            Mode::Far => (FAR[self.turn], FAR[self.turn], self.anchor),
            _ => {
                let ahead = NEAR_AHEAD[self.turn].min(self.new.len() - self.at + NEAR_BEHIND);
                (NEAR_BEHIND, ahead, self.drift)
            }
        };
        let place = self.at as i64 + drift;
        let cut = |offset: i64| offset.clamp(0, base_len as i64) as u64;
        let start = cut(place - behind as i64);
        (start, (cut(place + ahead as i64) - start) as usize)
    }

    /// The window asked for lies outside of the base.
    pub(super) fn nothing_there(&mut self) {
        self.close_run();
        if self.mode == Mode::Near && self.at >= self.far_from {
            self.enter_far();
        } else {
            self.mode = Mode::Over;
            self.at = self.new.len();
            self.run = self.at;
        }
    }

    pub(super) fn not_to_be_had(&mut self) {
        if self.turn == 0 {
            self.turn = 1;
            return;
        }
        self.turn = 0;
        if self.mode == Mode::Far {
            self.mode = Mode::Near;
            self.far_from = self.at + FAR[0] / 2;
        } else {
            self.close_run();
            self.pass(NEAR_AHEAD[1]);
        }
    }

    /// Leaves some bytes to the literals.
    fn pass(&mut self, len: usize) {
        self.at = (self.at + len).min(self.new.len());
        self.run = self.at;
        self.strain = (self.strain - len as i64).max(0);
    }

    fn enter_far(&mut self) {
        self.mode = Mode::Far;
        if (self.drift - self.anchor).unsigned_abs() > FAR[0] as u64 / 2 {
            self.anchor = self.drift;
        }
        self.strain = 0;
        self.far_until = self.at + self.far_hold;
        self.far_hold = (self.far_hold * 2).min(FAR_HOLD[1]);
    }

    /// Compares on as far as new and base are equal. False when the end of the view or of the new bytes stopped it.
    fn advance(&mut self, view: &View) -> bool {
        let base = view.from(self.at as i64 + self.drift);
        let equal = equal_forward(&self.new[self.at..], base);
        self.at += equal;
        self.strain = (self.strain - equal as i64).max(0);
        let stopped = equal == base.len() && !base.is_empty() && !view.is_last();
        !stopped && self.at < self.new.len()
    }

    fn close_run(&mut self) {
        let len = self.at - self.run;
        let at_edge = (self.run == 0 && self.matched.is_none()) || self.at == self.new.len();
        if len >= if at_edge { EDGE_MIN } else { MATCH_MIN } {
            self.literal_up_to(self.run);
            let base = (self.run as i64 + self.drift) as u64;
            match self.out.last_mut() {
                Some(Piece::Copy { base: before, len: so_far }) if self.run > 0 && *before + *so_far as u64 == base => {
                    *so_far += len as u32
                }
                _ => self.out.push(Piece::Copy { base, len: len as u32 }),
            }
            self.done = self.at;
            self.matched = Some(self.drift);
            if len >= FAR_ANCHOR {
                self.anchor = self.drift;
            }
        }
        self.run = self.at;
    }

    fn literal_up_to(&mut self, end: usize) {
        if end > self.done {
            self.out.push(Piece::Literal { len: (end - self.done) as u32 });
            self.done = end;
        }
    }

    fn go_on(&mut self, hit: Hit) {
        self.strain = (self.strain - (hit.at + hit.len).saturating_sub(self.at) as i64).max(0);
        self.run = hit.at;
        self.at = hit.at + hit.len;
        self.drift = hit.drift;
    }

    /// Walks side by side, with near searches, until another window is needed.
    pub(super) fn near(&mut self, index: &mut Index, view: &View) {
        let entered = self.at;
        while self.at < self.new.len() {
            if !self.advance(view) {
                return;
            }
            self.close_run();
            let place = self.at as i64 + self.drift;
            let before = view.start == 0 || place - NEAR_REACH as i64 >= view.start as i64;
            let after = view.is_last() || place + NEAR_REACH as i64 <= view.end() as i64;
            if !(before && after) && self.at != entered {
                return;
            }
            if self.strain > STRAIN_MAX && self.may_go_far() {
                return self.enter_far();
            }
            match self.search_near(index, view) {
                Some(hit) => self.go_on(hit),
                None if self.may_go_far() => return self.enter_far(),
                None => self.pass(NEAR[1].0),
            }
        }
    }

    fn may_go_far(&self) -> bool {
        self.at >= self.far_from && self.credit > 0
    }

    fn search_near(&mut self, index: &mut Index, view: &View) -> Option<Hit> {
        let place = self.at as i64 + self.drift;
        if self.strain > 2 * STRAIN_MAX {
            return self.same_offset(view, NEAR[1].0, MATCH_MIN);
        }
        for (reach, bits) in NEAR {
            let same = self.same_offset(view, reach, MATCH_MIN);
            let until = same.map_or(self.at + reach, |hit| hit.at);
            let from = view.clamp(place - reach as i64);
            let to = view.clamp(place + 2 * reach as i64);
            index.cover_once(bits, view.start + from as u64, &view.bytes[from..to]);
            self.strain += reach as i64;
            let least = same.map_or(MATCH_MIN, |_| MATCH_BETWEEN);
            let found = self.scan(index, view, until, least).or(same);
            if found.is_some() {
                return found;
            }
        }
        let reach = SAME_REACH.min(self.leap);
        self.strain += (reach / SAME_BYTES_PER_UNIT) as i64;
        let found = self.same_offset(view, reach, LOOK)?;
        self.leap = self.leap.saturating_sub(found.at - self.at);
        Some(found)
    }

    /// The first match of at least `least` bytes at the drift so far, within `reach`.
    fn same_offset(&self, view: &View, reach: usize, least: usize) -> Option<Hit> {
        let new = &self.new[self.at..];
        let base = view.from(self.at as i64 + self.drift);
        let len = new.len().min(base.len());
        let mut at = 0;
        while at + BLOCK <= len && at < reach {
            if !equal_block(&new[at..], &base[at..]) {
                at += BLOCK;
                continue;
            }
            let back = equal_backward(&new[..at], &base[..at]);
            let cap = (at + LOOK).min(len);
            let ahead = equal_forward(&new[at..cap], &base[at..cap]);
            if back + ahead >= least {
                return Some(Hit { at: self.at + at - back, drift: self.drift, len: back + ahead });
            }
            at += ahead.max(BLOCK);
        }
        None
    }

    /// Looks byte by byte, from where the walk stands up to `until`, for a match of at least `least` bytes.
    fn scan(&self, index: &Index, view: &View, until: usize, least: usize) -> Option<Hit> {
        let until = until.min((self.new.len() + 1).saturating_sub(BLOCK));
        let mut at = self.at;
        let mut rejected = 0;
        while at < until {
            let lost = at - self.done;
            let (lost_max, step) = STEPS[STEPS.iter().position(|&(lost_max, _)| lost < lost_max).unwrap_or(STEPS.len() - 1)];
            let stop = until.min(lost_max.saturating_add(self.done));
            let blocks = self.new[at..stop + BLOCK - 1].windows(BLOCK).step_by(step);
            let Some((skipped, offset)) = blocks.enumerate().find_map(|(skipped, block)| Some((skipped, index.candidate(block)?))) else {
                at = stop;
                continue;
            };
            at += skipped * step;
            let place = (offset - view.start) as usize;
            let cap = (at + LOOK).min(self.new.len());
            let ahead = equal_forward(&self.new[at..cap], view.from(offset as i64));
            if ahead >= BLOCK {
                let back = equal_backward(&self.new[self.done..at], &view.bytes[..place]);
                if back + ahead >= least {
                    return Some(Hit { at: at - back, drift: offset as i64 - at as i64, len: back + ahead });
                }
            }
            // What follows within these equal bytes would only find the same match again; and where much was in vain, haste.
            rejected += 1;
            at += ahead.saturating_sub(BLOCK - 1).max(1) + rejected / 16;
        }
        None
    }

    /// Walks with the wide index, until another window is needed or the ground is firm again.
    pub(super) fn far(&mut self, index: &mut Index, view: &View) {
        let cost = (index.missing(view.start, view.bytes) / INDEXED_PER_UNIT) as i64;
        if cost > self.credit + self.at as i64 {
            self.mode = Mode::Near;
            self.far_from = self.at + FAR[1];
            return;
        }
        self.credit -= cost;
        index.cover(FAR_BITS, view.start, view.bytes);
        let turning = view.start as i64 + (view.bytes.len() / 4 * 3) as i64;
        let entered = self.at;
        while self.at < self.new.len() {
            if !self.advance(view) {
                self.anchor = self.drift;
                return;
            }
            self.close_run();
            if self.at >= self.far_until {
                self.mode = Mode::Near;
                return;
            }
            let room = match view.is_last() {
                true => self.new.len(),
                false => (turning - self.anchor).clamp(0, self.new.len() as i64) as usize,
            };
            if room <= self.at && self.at != entered {
                return;
            }
            let room = room.max((self.at + NEAR[1].0).min(self.new.len()));
            let same = self.same_offset(view, NEAR[0].0, MATCH_MIN);
            let least = same.map_or(MATCH_MIN, |_| MATCH_BETWEEN);
            let found = self.scan(index, view, same.map_or(room, |hit| hit.at), least).or(same);
            match found {
                Some(hit) if hit.drift != self.drift => (self.leap, self.in_vain) = (0, 0),
                _ => self.in_vain += found.map_or(room, |hit| hit.at).saturating_sub(self.at),
            }
            match found {
                Some(hit) => self.go_on(hit),
                None => {
                    self.at = room;
                    self.run = room;
                    self.far_until = self.far_until.max(room + self.far_hold);
                }
            }
        }
    }
}
