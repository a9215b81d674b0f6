//! What a proxy does to the bytes that pass it, and what it counted: a plan that may change while bytes flow.
//!
//! There is one act for each way. Offsets count the bytes that arrived on one connection, from 0, so that an act meets each connection
//! at the same place; with [`Plan::once`] it meets the first connection that gets there and no other. A plan counts how often it did harm
//! (`struck`): a test that expects a system to survive a fault must also see that there was one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::chance::Chance;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the side that connected.
    Up,
    /// To the side that connected.
    Down,
}

/// What happens to the bytes of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Pass,
    /// `len` bytes from offset `at` never arrive, and those behind them do.
    Skip {
        at: u64,
        len: u64,
    },
    /// One bit of the byte at this offset is another.
    Flip {
        at: u64,
    },
    /// The same at an offset below this, another for each connection, told by the seed.
    FlipByChance {
        seed: u64,
        below: u64,
    },
    /// So many bytes arrive, then the connection ends as if its other end had finished (FIN).
    End {
        after: u64,
    },
    /// So many bytes go on, then the connection is reset on both sides.
    Reset {
        after: u64,
    },
    /// So many bytes arrive, then nothing does, the end neither; the connection stays.
    Stall {
        after: u64,
    },
    /// Each piece that arrives goes on so much later; what comes meanwhile waits behind it.
    Delay(Duration),
    /// One byte at a time, so long between two.
    Trickle(Duration),
    /// Everything is taken and nothing arrives, the end neither.
    Swallow,
}

/// What passed so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that came, those that were turned away included.
    pub connections: u64,
    /// Of them, those that have not ended.
    pub open: u64,
    /// Reset at once: the server could not be reached, or there were too many at a time.
    pub turned_away: u64,
    /// Bytes that went on.
    pub up: u64,
    pub down: u64,
    /// How often an act other than waiting did harm: at least once for each connection that it met.
    pub struck: u64,
}

impl Counts {
    pub fn passed(&self, way: Way) -> u64 {
        match way {
            Way::Up => self.up,
            Way::Down => self.down,
        }
    }
}

/// Acts for both ways, and counts.
#[derive(Debug, Default)]
pub struct Plan {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rules: [Rule; 2],
    /// Grows with each change of what is to be done.
    version: u64,
    silent: bool,
    counts: Counts,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    act: Act,
    once: bool,
    /// Whom it met, when it meets only one.
    met: Option<u64>,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule { act: Act::Pass, once: false, met: None }
    }
}

impl Plan {
    pub fn new() -> Arc<Plan> {
        Arc::default()
    }

    /// From now on, for connections that stand, too.
    pub fn set(&self, way: Way, act: Act) {
        self.change(|state| state.rules[way as usize] = Rule { act, once: false, met: None });
    }

    /// The same, but only the first connection that gets there is met.
    pub fn once(&self, way: Way, act: Act) {
        self.change(|state| state.rules[way as usize] = Rule { act, once: true, met: None });
    }

    /// Everything passes; what stalled goes on.
    pub fn clear(&self) {
        self.change(|state| {
            state.rules = [Rule::default(); 2];
            state.silent = false;
        });
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Waits until the counts are as asked, and gives them; panics at the limit with what they are.
    #[track_caller]
    pub fn wait(&self, limit: Duration, what: &str, asked: impl Fn(&Counts) -> bool) -> Counts {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), limit, |state| !asked(&state.counts))
            .unwrap_or_else(PoisonError::into_inner);
        let counts = state.counts;
        drop(state);
        assert!(asked(&counts), "waited {limit:?} for {what}; counted: {counts:?}");
        counts
    }

    /// Waits until so many bytes went on in all.
    #[track_caller]
    pub fn wait_passed(&self, limit: Duration, way: Way, bytes: u64) -> Counts {
        self.wait(limit, &format!("{bytes} bytes {way:?}"), |counts| counts.passed(way) >= bytes)
    }

    /// Connections are taken and nothing more, until this is taken back.
    pub(super) fn silence(&self, silent: bool) {
        self.change(|state| state.silent = silent);
    }

    /// Waits as long as silence holds and `go_on` says so; is it over?
    pub(super) fn wait_silence(&self, go_on: impl Fn() -> bool) -> bool {
        let waited = self.changed.wait_while(self.lock(), |state| state.silent && go_on());
        !waited.unwrap_or_else(PoisonError::into_inner).silent
    }

    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.lock().counts);
        self.changed.notify_all();
    }

    /// Wakes all that wait, to look whether they still should.
    pub(super) fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.version += 1;
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test's own question says nothing about the plan.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One way of one connection: what becomes of its bytes, in their order.
pub(super) struct Flow<G: Fn() -> bool> {
    plan: Arc<Plan>,
    way: Way,
    connection: u64,
    at: u64,
    /// Asked whenever a wait may be over.
    go_on: G,
    /// The longest that it waits for a change of plan.
    patience: Duration,
}

/// What to do with the first bytes of those that were shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Let so many go on; 0 when there are none to judge.
    Send(usize),
    Lose(usize),
    End,
    Reset,
    /// Its waiting is over without a change of plan.
    GiveUp,
}

impl<G: Fn() -> bool> Flow<G> {
    pub fn new(plan: &Arc<Plan>, way: Way, connection: u64, patience: Duration, go_on: G) -> Flow<G> {
        Flow { plan: plan.clone(), way, connection, at: 0, go_on, patience }
    }

    /// Judges the bytes that come next, changes them where the plan says so, and waits where it says so.
    pub fn step(&mut self, bytes: &mut [u8]) -> Step {
        let plan = self.plan.clone();
        let mut state = plan.lock();
        loop {
            if !(self.go_on)() {
                return Step::GiveUp;
            }
            let verdict = judge(self.act(&state), self.at, self.connection, bytes);
            let wait = match verdict {
                Verdict::Go { pause, .. } if pause.is_zero() => Duration::ZERO,
                Verdict::Go { pause, .. } => pause,
                Verdict::Hold => self.patience,
                Verdict::Lose(_) | Verdict::End | Verdict::Reset => Duration::ZERO,
            };
            if verdict.harms() {
                state.rules[self.way as usize].met.get_or_insert(self.connection);
                state.counts.struck += 1;
                plan.changed.notify_all();
            }
            if !wait.is_zero() {
                let version = state.version;
                let same = |state: &mut State| state.version == version && (self.go_on)();
                let (after, waited) = plan.changed.wait_timeout_while(state, wait, same).unwrap_or_else(PoisonError::into_inner);
                state = after;
                match verdict {
                    Verdict::Hold if waited.timed_out() => return Step::GiveUp,
                    _ if !waited.timed_out() => continue,
                    _ => (),
                }
            }
            let (step, taken) = match verdict {
                Verdict::Go { len, .. } => (Step::Send(len), len),
                Verdict::Lose(len) => (Step::Lose(len), len),
                Verdict::End => (Step::End, 0),
                Verdict::Reset => (Step::Reset, 0),
                Verdict::Hold => continue,
            };
            self.at += taken as u64;
            return step;
        }
    }

    fn act(&self, state: &State) -> Act {
        let rule = state.rules[self.way as usize];
        if rule.once && rule.met.is_some_and(|met| met != self.connection) { Act::Pass } else { rule.act }
    }

    /// Waits until the plan lets an end through; does it?
    pub fn may_end(&self) -> bool {
        let swallows = |state: &mut State| self.act(state) == Act::Swallow && (self.go_on)();
        let waited = self.plan.changed.wait_timeout_while(self.plan.lock(), self.patience, swallows);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !waited.timed_out() && (self.go_on)()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Go { len: usize, pause: Duration, flipped: bool },
    Lose(usize),
    Hold,
    End,
    Reset,
}

impl Verdict {
    fn harms(self) -> bool {
        !matches!(self, Verdict::Go { flipped: false, pause, .. } if pause.is_zero())
    }
}

fn judge(act: Act, at: u64, connection: u64, bytes: &mut [u8]) -> Verdict {
    let go = |len: usize| Verdict::Go { len, pause: Duration::ZERO, flipped: false };
    // What is left before an offset, of these bytes.
    let len = bytes.len();
    let before = |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX).min(len);
    match act {
        Act::Pass => go(len),
        Act::Skip { at: first, .. } if at < first => go(before(first)),
        Act::Skip { at: first, len: many } if before(first.saturating_add(many)) > 0 => Verdict::Lose(before(first.saturating_add(many))),
        Act::Skip { .. } => go(len),
        Act::Flip { at: here } => flip(here, at, bytes),
        Act::FlipByChance { seed, below } => {
            let below = usize::try_from(below).unwrap_or(usize::MAX);
            let here = Chance::new(seed ^ connection.wrapping_mul(0x9E37_79B9_7F4A_7C15)).below(below);
            flip(here as u64, at, bytes)
        }
        Act::End { after } if at >= after => Verdict::End,
        Act::Reset { after } if at >= after => Verdict::Reset,
        Act::Stall { after } if at >= after => Verdict::Hold,
        Act::End { after } | Act::Reset { after } | Act::Stall { after } => go(before(after)),
        Act::Delay(_) | Act::Trickle(_) | Act::Swallow if len == 0 => go(0),
        Act::Delay(pause) => Verdict::Go { len, pause, flipped: false },
        Act::Trickle(pause) => Verdict::Go { len: 1, pause, flipped: false },
        Act::Swallow => Verdict::Lose(len),
    }
}

fn flip(here: u64, at: u64, bytes: &mut [u8]) -> Verdict {
    let byte = here.checked_sub(at).and_then(|offset| bytes.get_mut(usize::try_from(offset).ok()?));
    let flipped = byte.is_some();
    if let Some(byte) = byte {
        *byte ^= 1 << (here % 8);
    }
    Verdict::Go { len: bytes.len(), pause: Duration::ZERO, flipped }
}
