//! What happened lately, for commands that wait: numbered, so that each sees what came after its order and nothing before.

use crate::takeover::words;
use election::member::Alert;
use election::message::{Refusal, Standing};
use election::{Role, Time};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Clone, Debug)]
pub enum Event {
    Role(Role),
    Alert(Alert),
    Refused(Refusal),
    /// An act, an import or an export that failed, in words.
    Trouble(String),
}

impl Event {
    /// In a sentence, for a person; nothing where it is of no interest.
    pub fn words(&self) -> Option<String> {
        match self {
            Event::Role(role) => Some(words::standing(role.standing).to_owned()),
            Event::Alert(alert) => Some(words::alert(alert)),
            Event::Refused(refusal) => Some(words::refusal(refusal).0),
            Event::Trouble(what) => Some(what.clone()),
        }
    }
}

/// So many are remembered.
const REMEMBERED: usize = 256;

#[derive(Default)]
struct Inside {
    /// Of the oldest that is remembered.
    first: u64,
    events: VecDeque<Event>,
    role: Option<Role>,
    /// The highest epoch that this node knows.
    seen: u64,
}

#[derive(Default)]
pub struct Told {
    inside: Mutex<Inside>,
    news: Condvar,
}

impl Told {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tell(&self, event: Event) {
        let mut inside = self.inside();
        if let Event::Role(role) = &event {
            let same = inside
                .role
                .as_ref()
                .is_some_and(|before| before.standing == role.standing && before.epoch == role.epoch);
            inside.role = Some(role.clone());
            // A renewal is no news.
            if same {
                return;
            }
        }
        inside.events.push_back(event);
        if inside.events.len() > REMEMBERED {
            inside.events.pop_front();
            inside.first += 1;
        }
        drop(inside);
        self.news.notify_all();
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        let inside = self.inside();
        inside.first + inside.events.len() as u64
    }

    /// The role as it is now.
    pub fn role(&self) -> Option<Role> {
        self.inside().role.clone()
    }

    pub fn standing(&self) -> Standing {
        self.role().map_or(Standing::Passive, |role| role.standing)
    }

    pub fn sees(&self, epoch: u64) {
        let mut inside = self.inside();
        inside.seen = inside.seen.max(epoch);
    }

    /// The highest epoch that this node knows.
    pub fn epoch(&self) -> u64 {
        let inside = self.inside();
        inside.seen.max(inside.role.as_ref().map_or(0, |role| role.epoch.0))
    }

    /// How long the lease still lives.
    pub fn lease_left(&self, now: Time) -> Duration {
        self.role().map_or(Duration::ZERO, |role| role.lease_until.since(now))
    }

    /// The events from this number on, and the number of the next; waits so long for one.
    pub fn since(&self, number: u64, wait: Duration) -> (Vec<Event>, u64) {
        let inside = self.inside();
        let none = |inside: &mut Inside| inside.first + inside.events.len() as u64 <= number;
        let (inside, _) = self.news.wait_timeout_while(inside, wait, none).unwrap_or_else(PoisonError::into_inner);
        let events = inside.events.iter().skip(number.saturating_sub(inside.first) as usize).cloned();
        (events.collect(), inside.first + inside.events.len() as u64)
    }
}
