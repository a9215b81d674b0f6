//! One alert for each incident.
//!
//! An incident is one place that is not ok, from when that was so for the confirmation time until it was ok for as long. It is
//! told when it opens and when it closes, and between the two only by reminders, where these are asked for. A place that opens
//! again within a day of calm must be ok twice as long before it closes, then four times, up to an hour: whatever flaps soon
//! tells two messages an hour at most, and each opening has its one closing.
//!
//! The whole state goes to disk as JSON. A caller writes what [`Incidents::unsaved`] gives before it delivers what
//! [`Incidents::take_due`] gives, so that a restart repeats no alert (but the one that was under way when the process died).
//! Times of confirmation are counted by the steady clock; the wall clock stands in messages, and counts across a restart.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, HOUR_MS};
use crate::health::{Status, Word};
use crate::message::{Event, Message, Report};
use crate::outbox::{Delivery, Outbox};
use crate::place::Place;
use crate::{Error, words};

const VERSION: u32 = 1;
const CALM_MS: u64 = 24 * HOUR_MS as u64;

/// What is told, after how long, and by which channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long something is not ok before it is told, and ok before that is told.
    pub confirm: Duration,
    /// Tell again of what is open still.
    pub remind: Option<Duration>,
    /// Names of the ways of delivery.
    pub channels: Vec<String>,
    /// This host, for the messages.
    pub host: String,
}

/// A place that is not ok, or was so lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    place: Place,
    /// The last word that was not ok.
    word: Word,
    why: String,
    /// Since when it is not ok, by the wall clock.
    since_ms: i64,
    /// When it was told; none while it is not confirmed, or closed.
    told_ms: Option<i64>,
    /// How often it closed.
    closings: u32,
    /// Is it ok at present, and since when?
    good: bool,
    streak_ms: i64,
    /// How long so, by the steady clock, and when that was last counted.
    #[serde(skip)]
    held_ms: u64,
    #[serde(skip)]
    counted_ms: Option<u64>,
}

/// An open incident, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    #[serde(flatten)]
    pub place: Place,
    pub word: Word,
    pub why: String,
    pub since: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    version: u32,
    entries: Vec<Entry>,
    outbox: Outbox,
}

/// All incidents of one daemon.
#[derive(Debug)]
pub struct Incidents {
    policy: Policy,
    state: State,
    unsaved: bool,
}

impl Incidents {
    /// With nothing known yet.
    pub fn create(policy: Policy) -> Incidents {
        let mut state = State { version: VERSION, ..State::default() };
        state.outbox.set(&policy.channels);
        Incidents { policy, state, unsaved: false }
    }

    /// From what an earlier process saved.
    pub fn open(policy: Policy, json: &[u8]) -> Result<Incidents, Error> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let wrong = |source| Error::ReadIncidents { source };
        let Version { version } = serde_json::from_slice(json).map_err(wrong)?;
        if version != VERSION {
            return Err(Error::IncidentsVersion { found: version, known: VERSION });
        }
        let mut state: State = serde_json::from_slice(json).map_err(wrong)?;
        state.outbox.set(&policy.channels);
        Ok(Incidents { policy, state, unsaved: false })
    }

    /// The state as JSON, if it changed since this was asked last.
    pub fn unsaved(&mut self) -> Option<Vec<u8>> {
        // Text, numbers and lists only; nothing in it can fail to be JSON.
        std::mem::take(&mut self.unsaved).then(|| serde_json::to_vec(&self.state).unwrap_or_default())
    }

    /// Takes note of how a place does.
    pub fn observe(&mut self, status: &Status, now: Clock) {
        let good = status.verdict.word == Word::Ok;
        let Some(at) = self.state.entries.iter().position(|entry| entry.place == status.place) else {
            if !good {
                self.state.entries.push(Entry::new(status, now));
                self.unsaved = true;
                let last = self.state.entries.len() - 1;
                self.decide(last, now);
            }
            return;
        };
        let entry = &mut self.state.entries[at];
        self.unsaved |= entry.count(good, now);
        if !good {
            entry.word = status.verdict.word;
            entry.why.clone_from(&status.verdict.why);
        }
        self.decide(at, now);
    }

    /// Opens, reminds, closes or forgets what stands at `at`.
    fn decide(&mut self, at: usize, now: Clock) {
        let confirm = self.policy.confirm.as_millis() as u64;
        let entry = &mut self.state.entries[at];
        let settled = entry.held_ms >= if entry.good { entry.closing_ms(confirm) } else { confirm };
        match (entry.good, entry.told_ms) {
            (false, None) if settled => {
                entry.told_ms = Some(now.wall_ms);
                self.tell(at, Event::Opened, now.wall_ms);
            }
            (false, Some(told_ms)) => {
                let remind = self.policy.remind.map(|remind| remind.as_millis());
                if remind.is_some_and(|remind| u128::from(now.wall_ms.abs_diff(told_ms)) >= remind) {
                    entry.told_ms = Some(now.wall_ms);
                    self.tell(at, Event::Reminder, now.wall_ms);
                }
            }
            (true, Some(_)) if settled => {
                entry.told_ms = None;
                entry.closings = entry.closings.saturating_add(1);
                let until_ms = entry.streak_ms;
                self.tell(at, Event::Closed, until_ms);
            }
            (true, None) if entry.closings == 0 || entry.held_ms >= CALM_MS => {
                self.state.entries.remove(at);
                self.unsaved = true;
            }
            _ => (),
        }
    }

    fn tell(&mut self, at: usize, event: Event, now_ms: i64) {
        let Entry { place, word, why, since_ms, .. } = &self.state.entries[at];
        let report = Report { event, place, word: *word, why, since_ms: *since_ms, now_ms, host: &self.policy.host };
        self.state.outbox.push(&Message::of(&report));
        self.unsaved = true;
    }

    /// Forgets places that are no longer configured; what is open among them closes, since nobody will observe it again.
    pub fn keep(&mut self, configured: impl Fn(&Place) -> bool, now: Clock) {
        for at in (0..self.state.entries.len()).rev() {
            if configured(&self.state.entries[at].place) {
                continue;
            }
            if self.state.entries[at].told_ms.is_some() {
                self.state.entries[at].why = "it is no longer configured, and no longer watched".into();
                self.tell(at, Event::Closed, now.wall_ms);
            }
            self.state.entries.remove(at);
            self.unsaved = true;
        }
    }

    /// Messages to deliver now, by channel, at most one for each; [`Incidents::delivered`] is to be told of each.
    pub fn take_due(&mut self, now: Clock) -> Vec<(String, Message)> {
        self.state.outbox.take(now.steady_ms)
    }

    /// How soon [`Incidents::take_due`] gives something; none while nothing waits.
    pub fn next_due(&self, now: Clock) -> Option<Duration> {
        self.state.outbox.next(now.steady_ms)
    }

    /// What was taken for a channel arrived, or failed for a reason.
    pub fn delivered(&mut self, channel: &str, outcome: Result<(), &str>, now: Clock) {
        self.unsaved |= self.state.outbox.ended(channel, outcome, now.steady_ms);
    }

    /// What is open.
    pub fn list(&self) -> Vec<Open> {
        let open = self.state.entries.iter().filter(|entry| entry.told_ms.is_some());
        open.map(|Entry { place, word, why, since_ms, .. }| Open {
            place: place.clone(),
            word: *word,
            why: why.clone(),
            since: words::moment(*since_ms),
        })
        .collect()
    }

    /// How each way of delivery does.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state.outbox.list()
    }
}

impl Entry {
    fn new(status: &Status, now: Clock) -> Entry {
        Entry {
            place: status.place.clone(),
            word: status.verdict.word,
            why: status.verdict.why.clone(),
            since_ms: now.wall_ms,
            told_ms: None,
            closings: 0,
            good: false,
            streak_ms: now.wall_ms,
            held_ms: 0,
            counted_ms: Some(now.steady_ms),
        }
    }

    /// Counts on, or begins anew when the word turned; says whether it did.
    fn count(&mut self, good: bool, now: Clock) -> bool {
        // A new process has only the wall clock to say how long; it may be wrong, so that it counts for a day at most.
        let passed = match self.counted_ms {
            Some(counted) => now.steady_ms.saturating_sub(counted),
            None => now.wall_ms.saturating_sub(self.streak_ms).clamp(0, CALM_MS as i64) as u64,
        };
        self.counted_ms = Some(now.steady_ms);
        if good == self.good {
            self.held_ms = self.held_ms.saturating_add(passed);
            return false;
        }
        (self.good, self.held_ms, self.streak_ms) = (good, 0, now.wall_ms);
        if !good && self.told_ms.is_none() {
            self.since_ms = now.wall_ms;
        }
        true
    }

    /// How long it must be ok before it closes.
    fn closing_ms(&self, confirm: u64) -> u64 {
        confirm.saturating_mul(1 << self.closings.min(12)).min(confirm.max(HOUR_MS as u64))
    }
}
