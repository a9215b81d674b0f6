//! How the arbiter of a cluster stands: who is active and until when by its word, and why nobody takes over. A part of what `status` shows.

use console::human;
use console::table::Table;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One arbiter. Fields may be added, never changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arbiter {
    pub cluster: String,
    /// `vacant`, `leased`, `expired`, `poll`, `catch-up`, `offer`, `granted`, `blocked`, `recovery`, `conflict`; `unknown` where no daemon runs.
    pub phase: String,
    pub epoch: u64,
    /// Whose lease may live.
    pub holder: Option<String>,
    pub lease_left_seconds: u64,
    pub blocked: Option<Blocked>,
    /// For whose answers it waits, when it asks all members what they know.
    pub missing: Vec<String>,
    pub pause: Option<Pause>,
    /// The last takeover, as long as nobody acknowledged it.
    pub unacknowledged: Option<String>,
    /// How often somebody took over by himself.
    pub takeovers: u64,
    /// Why it does nothing.
    pub halted: Option<String>,
    /// Those who stand by, by their last word.
    pub members: Vec<Member>,
}

/// One that stands by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub node: String,
    /// `ready`, `syncing`, `passive`, and so on.
    pub standing: String,
    /// What is imported and verified of each dataset: EPOCH/SEQUENCE.
    pub position: BTreeMap<String, String>,
    /// Published snapshots that it lacks.
    pub lacks: u64,
    pub seen_seconds: u64,
    /// Where it sees the addresses and domains.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vip: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dns: BTreeMap<String, String>,
}

/// Why nobody takes over, and what one would lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    pub why: String,
    /// Snapshots that going on regardless would leave behind.
    pub lost: Vec<String>,
    /// Why each member cannot take over.
    pub members: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub length_seconds: u64,
    /// The active took it up.
    pub acknowledged: bool,
    /// A person ended it; it counts until the active has heard of it.
    pub ending: bool,
}

fn span(seconds: u64) -> String {
    human::duration(Duration::from_secs(seconds))
}

impl Arbiter {
    /// What a person has to look at, if anything.
    pub fn wrong(&self) -> Option<String> {
        if let Some(why) = &self.halted {
            return Some(format!("the arbiter does nothing: {why}"));
        }
        match (self.phase.as_str(), &self.blocked) {
            ("conflict", _) => {
                Some(format!("CONFLICT: several nodes say that epoch {} is theirs: `pull-backup epoch resolve`", self.epoch))
            }
            ("recovery", _) if !self.missing.is_empty() => Some(format!(
                "the arbiter lost its memory and grants nothing until it heard {}; when one of them is off for good: `pull-backup attest {} --off NODE`",
                self.missing.join(", "),
                self.cluster
            )),
            ("blocked", Some(blocked)) => Some(format!("nobody is active, and nobody takes over: {}", blocked.why)),
            _ => None,
        }
    }

    /// Lines for people.
    pub fn text(&self) -> String {
        let reign = match &self.holder {
            Some(holder) => format!("epoch {} of {holder}, {} of its lease left", self.epoch, span(self.lease_left_seconds)),
            None => format!("epoch {}, nobody holds a lease", self.epoch),
        };
        let mut lines = vec![format!("arbiter of {}: {}: {reign}", self.cluster, self.phase)];
        let more = |text: String| format!("  {text}");
        lines.extend(self.wrong().map(more));
        if let Some(blocked) = &self.blocked {
            lines.extend(blocked.members.iter().map(|(node, why)| more(format!("{node}: {why}"))));
            lines.extend(blocked.lost.iter().map(|lost| more(format!("would be left behind: {lost}"))));
        }
        if let Some(pause) = &self.pause {
            let state = match (pause.ending, pause.acknowledged) {
                (true, _) => "ends when the active has heard of it",
                (false, true) => "the active lives under it",
                (false, false) => "the active has not taken it up yet",
            };
            lines.push(more(format!("paused for {}: {state}", span(pause.length_seconds))));
        }
        if let Some(takeover) = &self.unacknowledged {
            lines.push(more(format!("took over by itself: {takeover}; nobody has seen it yet: `pull-backup ack {}`", self.cluster)));
        }
        let mut text = lines.iter().map(|line| human::text(line.as_bytes())).collect::<Vec<_>>().join("\n");
        if !self.members.is_empty() {
            let outside = self.members.iter().any(|member| !member.vip.is_empty() || !member.dns.is_empty());
            let more: &[&str] = if outside { &["VIP", "DNS"] } else { &[] };
            let mut table = Table::new(&[&["NODE", "STATE", "POSITION", ">LACKS", "SEEN"], more].concat());
            for member in &self.members {
                let position: Vec<String> = member.position.iter().map(|(dataset, at)| format!("{dataset} {at}")).collect();
                let safe = |text: &str| human::text(text.as_bytes());
                let (seen, lacks) = (format!("{} ago", span(member.seen_seconds)), member.lacks.to_string());
                let mut row = vec![safe(&member.node), member.standing.clone(), safe(&position.join(", ")), lacks, seen];
                let words = |of: &BTreeMap<String, String>| {
                    safe(&of.iter().map(|(name, at)| format!("{name} {at}")).collect::<Vec<_>>().join(", "))
                };
                row.extend([&member.vip, &member.dns].into_iter().filter(|_| outside).map(words));
                table.cells(row);
            }
            text.push_str(&format!("\n{}", table.to_string().trim_end()));
        }
        text
    }
}
