//! What a daemon that pulls knows of its peers, kept on disk, so that it outlives the daemon and `status` can read it.
//!
//! A change of what is held, offered or wrong is written at once; that a peer was seen again, at most every few seconds. What a daemon does not know yet, because
//! it just began, stays as it was. Each trouble is said in the log once when it begins and once when it is over.

use crate::holding::Holding;
use crate::log::{Log, Said};
use crate::place::{ago, ms};
use link::follow::Contact;
use link::identity::Pin;
use link::message::snapshot_of;
use link::pull::Fact;
use link::repositories::Dataset;
use link::state_file;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use watch::health::Failure;
use watch::{Evidence, Rule, Word};

/// Of one file in a state folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<Peer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dataset: Vec<Pulled>,
}

/// A peer that is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    pub pin: Pin,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answered_ms: Option<u64>,
    #[serde(flatten, default)]
    pub went: Went,
}

/// How it went last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Went {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When it failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_ms: Option<u64>,
    /// How often since it went well.
    pub failures: u32,
    /// How many bytes came.
    pub bytes: u64,
}

/// A dataset that a peer offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pulled {
    pub cluster: String,
    pub name: String,
    pub pin: Pin,
    /// The newest snapshot that the peer has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offered: Option<String>,
    /// The newest that is held here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub held: Option<String>,
    /// When all that the peer had was here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub done_ms: Option<u64>,
    /// When the newest data that is here was captured, and when it was first seen here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub captured_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen_ms: Option<u64>,
    #[serde(default)]
    pub lacking: u64,
    #[serde(flatten, default)]
    pub went: Went,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<Rule>,
}

impl Pulled {
    fn new(dataset: &Dataset, pin: Pin) -> Pulled {
        let (cluster, name) = (dataset.cluster.clone(), dataset.name.clone());
        let (offered, held, done_ms, captured_ms, seen_ms, rule) = Default::default();
        Pulled {
            cluster,
            name,
            pin,
            offered,
            held,
            done_ms,
            captured_ms,
            seen_ms,
            lacking: 0,
            went: Went::default(),
            rule,
        }
    }

    pub fn is(&self, dataset: &Dataset, pin: Pin) -> bool {
        self.pin == pin && self.name == dataset.name && self.cluster == dataset.cluster
    }

    /// When it was verified here that the data is as of `captured_ms`.
    pub fn verified_ms(&self, captured_ms: u64) -> Option<u64> {
        self.seen_ms.filter(|_| self.captured_ms == Some(captured_ms))
    }
}

impl Kept {
    /// The file of a daemon.
    pub fn path(state: &Path, daemon: &str) -> PathBuf {
        state.join(format!("{daemon}.peers.toml"))
    }

    pub fn open(state: &Path, daemon: &str) -> link::Result<Kept> {
        Ok(state_file::read(&Kept::path(state, daemon))?.unwrap_or_default())
    }

    pub fn peer(&self, pin: Pin) -> Option<&Peer> {
        self.peer.iter().find(|peer| peer.pin == pin)
    }

    pub fn pulled(&self, dataset: &Dataset, pin: Pin) -> Option<&Pulled> {
        self.dataset.iter().find(|pulled| pulled.is(dataset, pin))
    }

    /// Without what changes all the time and tells little.
    fn still(&self) -> Kept {
        let mut still = self.clone();
        still
            .peer
            .iter_mut()
            .for_each(|peer| (peer.answered_ms, peer.went.bytes, peer.went.failed_ms) = Default::default());
        still
            .dataset
            .iter_mut()
            .for_each(|pulled| (pulled.done_ms, pulled.went.bytes, pulled.went.failed_ms) = Default::default());
        still
    }
}

/// Evidence of a dataset that is pulled from a peer: what is here, and how it goes.
pub fn pulling(holding: Option<&Holding>, pulled: Option<&Pulled>, peer: Option<&Peer>) -> Evidence {
    let captured = holding.and_then(Holding::captured_ms);
    let mut evidence = Evidence { captured_ms: captured.map(ms), ..Evidence::default() };
    evidence.wrong.extend(holding.iter().flat_map(|holding| holding.damaged.clone()));
    evidence.verified_ms = captured.and_then(|captured| pulled?.verified_ms(captured)).map(ms);
    evidence.success_ms = pulled.and_then(|pulled| pulled.done_ms).map(ms);
    let offered = pulled.and_then(|pulled| snapshot_of(pulled.offered.as_deref()?));
    let held = holding.and_then(|holding| holding.snapshots.last());
    evidence.queued_snapshots = match (offered, held) {
        (Some((offered, _)), Some(held)) if offered.epoch == held.at.epoch => offered.sequence.saturating_sub(held.at.sequence),
        (Some((offered, _)), Some(held)) => u64::from(offered > held.at),
        (Some(_), None) => 1,
        (None, _) => 0,
    };
    // Who cannot be reached cannot be pulled from.
    let went = peer.map(|peer| &peer.went).filter(|went| went.failures > 0).or(pulled.map(|pulled| &pulled.went));
    if let Some(went) = went {
        evidence.failures = went.failures;
        evidence.failure = went.failed_ms.zip(went.trouble.clone()).map(|(at, text)| Failure { at_ms: ms(at), text });
    }
    if let Some(lacking) = pulled.map(|pulled| pulled.lacking).filter(|lacking| *lacking > 0) {
        evidence
            .wrong
            .push(format!("{lacking} segments that are needed are lacking there; the next export writes them anew"));
    }
    evidence
}

/// How a peer that is asked does.
pub fn asked(peer: Option<&Peer>, now_ms: u64) -> (Word, String) {
    let Some(peer) = peer else { return (Word::Never, "it was never asked; see that the daemon runs".into()) };
    let trouble = peer.went.trouble.as_deref().unwrap_or("it is not known why");
    match (peer.answered_ms, peer.went.failures) {
        (None, 0) => (Word::Never, "it never answered".into()),
        (None, failures) => (Word::Never, format!("it never answered in {failures} attempts: {trouble}")),
        (Some(answered), 0) if now_ms.saturating_sub(answered) > SILENT_MS => {
            (Word::Late, format!("it was asked last {} ago; see that the daemon runs", ago(answered, now_ms)))
        }
        (Some(_), 0) => (Word::Ok, "answers".into()),
        (Some(answered), failures) => {
            (Word::Failing, format!("it answered last {} ago, {failures} attempts failed since: {trouble}", ago(answered, now_ms)))
        }
    }
}

/// Peers are asked every few seconds.
const SILENT_MS: u64 = 60_000;

/// Keeps it while the daemon runs.
pub struct Keeper {
    path: PathBuf,
    log: Log,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    kept: Kept,
    /// What stands on the disk, and since when.
    written: Kept,
    written_ms: u64,
    /// What each counter of bytes stood at: a daemon counts from nothing.
    peers: HashMap<Pin, u64>,
    datasets: HashMap<(Dataset, Pin), u64>,
}

/// That a peer was seen again is written no more often.
const SEEN_MS: u64 = 5_000;

impl Keeper {
    /// What cannot be read is begun anew; it comes back with the first answers.
    pub fn open(state: &Path, daemon: &str, log: Log) -> Keeper {
        let kept = Kept::open(state, daemon).unwrap_or_else(|error| {
            log.say(Said::warn("state", link::pull::chain(&error)));
            Kept::default()
        });
        let inside = Inside { written: kept.clone(), kept, ..Inside::default() };
        Keeper { path: Kept::path(state, daemon), log, inside: Mutex::new(inside) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a dataset is exported, as one of those said who offer it.
    pub fn rule(&self, dataset: &Dataset) -> Option<Rule> {
        let inside = self.inside();
        let of = |pulled: &&Pulled| pulled.name == dataset.name && pulled.cluster == dataset.cluster;
        inside.kept.dataset.iter().filter(of).find_map(|pulled| pulled.rule.clone())
    }

    pub fn kept(&self) -> Kept {
        self.inside().kept.clone()
    }

    /// Takes note of what the daemon knows now. `name` is what a peer is called; `captured` when a dataset's newest data here was captured.
    pub fn note(
        &self,
        contacts: &[(Pin, Contact)],
        facts: &[(Dataset, Pin, Fact)],
        name: &dyn Fn(&Pin) -> String,
        captured: &dyn Fn(&Dataset) -> Option<u64>,
        now_ms: u64,
    ) {
        let mut inside = self.inside();
        for (pin, contact) in contacts {
            inside.contact(*pin, contact, &name(pin), now_ms, &self.log);
        }
        for (dataset, pin, fact) in facts {
            inside.fact(dataset, *pin, fact, &name(pin), now_ms, &self.log);
        }
        for pulled in &mut inside.kept.dataset {
            let found = captured(&Dataset { cluster: pulled.cluster.clone(), name: pulled.name.clone() });
            if found != pulled.captured_ms {
                (pulled.captured_ms, pulled.seen_ms) = (found, found.map(|_| now_ms));
            }
        }
        self.write(&mut inside, now_ms);
    }

    fn write(&self, inside: &mut Inside, now_ms: u64) {
        let rested = now_ms.abs_diff(inside.written_ms) >= SEEN_MS;
        if inside.kept == inside.written || (!rested && inside.kept.still() == inside.written.still()) {
            return;
        }
        match state_file::say(&self.path, &inside.kept) {
            Ok(()) => (inside.written, inside.written_ms) = (inside.kept.clone(), now_ms),
            Err(error) => {
                // Said each few seconds as long as it is so: nothing else of this daemon is to be relied on then.
                if rested {
                    self.log.say(Said::error("state", link::pull::chain(&error)));
                    inside.written_ms = now_ms;
                }
            }
        }
    }
}

impl Inside {
    fn contact(&mut self, pin: Pin, contact: &Contact, name: &str, now_ms: u64, log: &Log) {
        let at = self.kept.peer.iter().position(|peer| peer.pin == pin).unwrap_or_else(|| {
            self.kept.peer.push(Peer { pin, answered_ms: None, went: Went::default() });
            self.kept.peer.len() - 1
        });
        let peer = &mut self.kept.peer[at];
        peer.went.count(self.peers.insert(pin, contact.received), contact.received);
        if contact.answered_ms.is_none() && contact.failures == 0 {
            return;
        }
        peer.answered_ms = contact.answered_ms.or(peer.answered_ms);
        let before = peer.went.turn(contact.trouble.as_ref().filter(|_| contact.failures > 0), contact.failures, now_ms);
        told(before.as_deref(), peer.went.trouble.as_deref(), ["unreachable", "reached"], |said| log.say(said.peer(name)));
        for head in contact.heads.iter() {
            let dataset = link::pull::dataset_of(head);
            let pulled = self.pulled(&dataset, pin);
            pulled.offered.clone_from(&head.snapshot);
            pulled.rule.clone_from(&head.rule);
        }
    }

    fn pulled(&mut self, dataset: &Dataset, pin: Pin) -> &mut Pulled {
        let at = self.kept.dataset.iter().position(|pulled| pulled.is(dataset, pin)).unwrap_or_else(|| {
            self.kept.dataset.push(Pulled::new(dataset, pin));
            self.kept.dataset.len() - 1
        });
        &mut self.kept.dataset[at]
    }

    fn fact(&mut self, dataset: &Dataset, pin: Pin, fact: &Fact, name: &str, now_ms: u64, log: &Log) {
        let counted = self.datasets.insert((dataset.clone(), pin), fact.bytes);
        let pulled = self.pulled(dataset, pin);
        pulled.went.count(counted, fact.bytes);
        pulled.held = fact.held.clone().or(pulled.held.take());
        pulled.done_ms = fact.done_ms.or(pulled.done_ms);
        pulled.lacking = fact.lacking as u64;
        let before = pulled.went.turn(fact.trouble.as_ref().filter(|_| fact.failures > 0), fact.failures, now_ms);
        let now = pulled.went.trouble.clone();
        told(before.as_deref(), now.as_deref(), ["pull-failed", "pulls"], |said| log.say(said.dataset(dataset).peer(name)));
    }
}

impl Went {
    fn count(&mut self, before: Option<u64>, now: u64) {
        let before = before.filter(|before| *before <= now).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(now - before);
    }

    /// Takes over how it went; gives the trouble that it had.
    fn turn(&mut self, trouble: Option<&String>, failures: u32, now_ms: u64) -> Option<String> {
        let before = self.trouble.take();
        if failures > 0 && (failures != self.failures || before.as_ref() != trouble) {
            self.failed_ms = Some(now_ms);
        }
        self.failures = failures;
        self.trouble = trouble.cloned();
        before
    }
}

/// Says a trouble when it turned.
fn told(before: Option<&str>, now: Option<&str>, [bad, good]: [&'static str; 2], mut say: impl FnMut(Said)) {
    match (before, now) {
        (before, Some(now)) if before != Some(now) => say(Said::warn(bad, now)),
        (Some(_), None) => say(Said::info(good, "it goes well again")),
        _ => {}
    }
}
