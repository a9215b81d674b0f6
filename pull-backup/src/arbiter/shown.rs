//! What others see of an arbiter between its steps, and what they wait for.

use super::words;
use election::arbiter::Phase;
use election::ledger::{How, ReignState};
use election::{Arbiter, Time};
use serde::{Deserialize, Serialize};
use standing::arbiter as shape;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The arbiter as it was after its last step.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub shape: shape::Arbiter,
    pub lease_until: Time,
    /// When it was looked at.
    pub at: Time,
    /// Who is active under the current epoch.
    pub active: Option<String>,
    /// How many wishes were refused after they had been taken, and why the last was.
    pub refused: (u64, Option<words::Refused>),
    /// Nothing more comes.
    pub ended: bool,
}

#[derive(Debug, Default)]
pub struct Shown {
    seen: Mutex<Seen>,
    news: Condvar,
}

/// What would happen, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub cluster: String,
    pub epoch: u64,
    pub holder: Option<String>,
    /// Why nothing happens by itself.
    pub forbidden: Option<String>,
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// Why each of the others cannot take over.
    pub ineligible: BTreeMap<String, String>,
    /// How old the newest data is, by dataset.
    pub age_seconds: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub node: String,
    /// What it would leave behind if it had to go as it stands.
    pub lost: Vec<String>,
}

impl Planned {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![match &self.holder {
            Some(holder) => format!("{}: epoch {} is {holder}'s", self.cluster, self.epoch),
            None => format!("{}: epoch {}, nobody holds a lease", self.cluster, self.epoch),
        }];
        let age = |seconds: &u64| console::human::duration(Duration::from_secs(*seconds));
        lines.extend(
            self.age_seconds
                .iter()
                .map(|(dataset, seconds)| format!("the newest of {dataset} is {} old", age(seconds))),
        );
        for (number, candidate) in self.candidates.iter().enumerate() {
            let rank = if number == 0 { "first" } else { "then" };
            lines.push(match candidate.lost.is_empty() {
                true => format!("{rank}: {}, which has all that is kept here", candidate.node),
                false => {
                    format!("{rank}: {}, which would leave behind, if it cannot catch up: {}", candidate.node, candidate.lost.join(", "))
                }
            });
        }
        lines.extend(self.ineligible.iter().map(|(node, why)| format!("not {node}: {why}")));
        lines.extend(self.forbidden.iter().map(|why| format!("nobody takes over by himself: {why}")));
        lines
    }
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.news.notify_all();
    }

    /// As it is at this time.
    pub fn at(&self, now: Time) -> Seen {
        let mut seen = self.lock().clone();
        seen.shape = seen.shape.later(now.since(seen.at).as_secs());
        seen.shape.lease_left_seconds = seen.lease_until.since(now).as_secs();
        seen
    }

    /// Waits until it changes, but not longer.
    pub fn wait(&self, most: Duration) {
        let seen = self.lock();
        // Woken or not: whoever waits looks.
        drop(self.news.wait_timeout(seen, most));
    }
}

/// How an arbiter stands.
pub fn show(arbiter: &Arbiter, cluster: &str, now: Time) -> (shape::Arbiter, Option<String>) {
    let record = arbiter.record();
    let current = record.current();
    let automatic =
        |entry: &&election::ledger::Entry| entry.how == How::Automatic && matches!(entry.state, ReignState::Active | ReignState::Released);
    let takeover = record.ledger.iter().rev().find(automatic);
    let unacknowledged = takeover.filter(|_| !record.takeovers.acknowledged && !record.takeovers.times.is_empty());
    let phase = arbiter.phase();
    let pause = record.pause.map(|paused| shape::Pause {
        length_seconds: paused.pause.length.as_secs(),
        acknowledged: paused.acknowledged,
        ending: paused.ending,
    });
    let shape = shape::Arbiter {
        cluster: cluster.to_owned(),
        phase: words::phase(phase).to_owned(),
        epoch: record.epoch.0,
        holder: record.holder.as_ref().map(|node| node.0.clone()),
        lease_left_seconds: 0,
        blocked: arbiter
            .blocked()
            .filter(|_| phase == Phase::Blocked)
            .map(|blocked| words::blocked(blocked, cluster, now)),
        missing: vec![],
        pause,
        unacknowledged: unacknowledged.map(|entry| entry.reign.to_string()),
        takeovers: record.ledger.iter().filter(automatic).count() as u64,
        halted: None,
        reigning: record.holder.as_ref().map(|node| reigning(arbiter, &node.0, now)),
        members: members(arbiter, now),
    };
    let active = current.filter(|entry| entry.state == ReignState::Active).map(|entry| entry.reign.node.0.clone());
    (shape.later(0), active)
}

/// What the holder says of itself, as it renews.
fn reigning(arbiter: &Arbiter, node: &str, now: Time) -> shape::Reigning {
    let node = node.to_owned();
    let Some(said) = arbiter.of_holder() else { return shape::Reigning { node, standing: "unknown".into(), ..Default::default() } };
    shape::Reigning {
        node,
        standing: words::standing(said.standing).to_owned(),
        seen_seconds: Some(now.since(said.at).as_secs()),
        vip: said.outside.vip.clone(),
        dns: said.outside.dns.clone(),
    }
}

/// The last word of those who stand by.
fn members(arbiter: &Arbiter, now: Time) -> Vec<shape::Member> {
    let record = arbiter.record();
    let known = arbiter
        .answers()
        .filter(|(node, ..)| record.members.contains_key(*node) && record.holder.as_ref() != Some(*node));
    let shown = |(node, at, answer): (&election::NodeId, Time, &election::message::Answer)| shape::Member {
        node: node.0.clone(),
        standing: words::standing(answer.standing).to_owned(),
        position: answer
            .readiness
            .position
            .0
            .iter()
            .map(|(dataset, point)| (dataset.0.clone(), format!("{}/{}", point.epoch, point.sequence)))
            .collect(),
        lacks: arbiter.lacking(&answer.readiness.position) as u64,
        seen_seconds: now.since(at).as_secs(),
        vip: answer.readiness.outside.vip.clone(),
        dns: answer.readiness.outside.dns.clone(),
    };
    known.map(shown).collect()
}

pub fn planned(arbiter: &Arbiter, cluster: &str, now: Time) -> Planned {
    let plan = arbiter.plan();
    let candidate = |(node, lost): &(election::NodeId, Vec<election::Lost>)| Candidate {
        node: node.0.clone(),
        lost: lost.iter().map(words::lost).collect(),
    };
    let record = arbiter.record();
    Planned {
        cluster: cluster.to_owned(),
        epoch: record.epoch.0,
        holder: record.holder.as_ref().map(|node| node.0.clone()),
        forbidden: plan.forbidden.as_ref().map(|why| words::why(why, cluster, now)),
        candidates: plan.candidates.iter().map(candidate).collect(),
        ineligible: plan
            .ineligible
            .iter()
            .map(|(node, reason)| (node.0.clone(), words::ineligible(reason, now)))
            .collect(),
        age_seconds: BTreeMap::new(),
    }
}
