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
    /// The holder, by its last word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reigning: Option<Reigning>,
    /// Those who stand by, by their last word.
    pub members: Vec<Member>,
}

/// The one that holds the reign, as it says itself with each renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reigning {
    pub node: String,
    /// `active`, `activating`, `stepping down`, `fenced`; `unknown` where it said nothing lately.
    pub standing: String,
    /// None where it said nothing since the arbiter began.
    pub seen_seconds: Option<u64>,
    /// Where it sees the addresses and domains.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vip: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dns: BTreeMap<String, String>,
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

/// What was seen longer ago tells nothing of now.
const OLD_SECONDS: u64 = 20;
const UNKNOWN: &str = "unknown";

fn forget(of: &mut BTreeMap<String, String>) {
    of.values_mut().for_each(|word| *word = UNKNOWN.into());
}

fn span(seconds: u64) -> String {
    human::duration(Duration::from_secs(seconds))
}

impl Arbiter {
    /// As it is so much later, when nothing was heard meanwhile.
    pub fn later(mut self, seconds: u64) -> Arbiter {
        self.lease_left_seconds = self.lease_left_seconds.saturating_sub(seconds);
        if let Some(of) = &mut self.reigning {
            of.seen_seconds = of.seen_seconds.map(|seen| seen + seconds);
            if of.seen_seconds.is_none_or(|seen| seen > OLD_SECONDS) {
                of.standing = UNKNOWN.into();
                forget(&mut of.vip);
                forget(&mut of.dns);
            }
        }
        for of in &mut self.members {
            of.seen_seconds += seconds;
            if of.seen_seconds > OLD_SECONDS {
                forget(&mut of.vip);
                forget(&mut of.dns);
            }
        }
        self
    }

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
        if let Some(table) = self.table() {
            text.push_str(&format!("\n{table}"));
        }
        text
    }

    /// Who has the role, and who stands by.
    fn table(&self) -> Option<String> {
        let (reigning, members) = (self.reigning.iter(), self.members.iter());
        let mut outside = reigning.clone().map(|of| (&of.vip, &of.dns)).chain(members.clone().map(|of| (&of.vip, &of.dns)));
        let outside = outside.any(|(vip, dns)| !vip.is_empty() || !dns.is_empty());
        let more: &[&str] = if outside { &["VIP", "DNS"] } else { &[] };
        let mut table = Table::new(&[&["NODE", "STATE", "POSITION", ">LACKS", "SEEN"], more].concat());
        let safe = |text: &str| human::text(text.as_bytes());
        let pairs =
            |of: &BTreeMap<String, String>| safe(&of.iter().map(|(name, at)| format!("{name} {at}")).collect::<Vec<_>>().join(", "));
        let mut row = |first: [String; 5], (vip, dns): (&BTreeMap<String, String>, &BTreeMap<String, String>)| {
            let seen = [vip, dns].into_iter().filter(|_| outside).map(&pairs);
            table.cells(first.into_iter().chain(seen).collect());
        };
        for of in reigning {
            let seen = of.seen_seconds.map_or_else(|| "never".into(), |seen| format!("{} ago", span(seen)));
            // What it exports is in the lines above; it can lack nothing of its own.
            row([safe(&of.node), safe(&of.standing), "-".into(), "-".into(), seen], (&of.vip, &of.dns));
        }
        for of in members {
            let seen = format!("{} ago", span(of.seen_seconds));
            row([safe(&of.node), of.standing.clone(), pairs(&of.position), of.lacks.to_string(), seen], (&of.vip, &of.dns));
        }
        Some(table.to_string().trim_end().to_owned()).filter(|_| self.reigning.is_some() || !self.members.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(word: &str) -> BTreeMap<String, String> {
        [("192.0.2.10".to_owned(), word.to_owned())].into()
    }

    fn shop() -> Arbiter {
        Arbiter {
            cluster: "shop".into(),
            phase: "leased".into(),
            epoch: 3,
            holder: Some("web1".into()),
            lease_left_seconds: 25,
            reigning: Some(Reigning {
                node: "web1".into(),
                standing: "active".into(),
                seen_seconds: Some(4),
                vip: seen("here"),
                dns: [("example.org".to_owned(), "here".to_owned())].into(),
            }),
            members: vec![Member {
                node: "web2".into(),
                standing: "ready".into(),
                position: [("shop".to_owned(), "3/9".to_owned())].into(),
                seen_seconds: 1,
                vip: seen("02:00:00:00:01:02"),
                ..Member::default()
            }],
            ..Arbiter::default()
        }
    }

    #[test]
    fn the_active_stands_above_those_that_stand_by_with_what_it_sees_itself() {
        let text = shop().text();
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["NODE", "STATE", "POSITION", "LACKS", "SEEN", "VIP", "DNS"]);
        assert_eq!(rows[1], ["web1", "active", "-", "-", "4", "s", "ago", "192.0.2.10", "here", "example.org", "here"]);
        assert_eq!(rows[2], ["web2", "ready", "shop", "3/9", "0", "1", "s", "ago", "192.0.2.10", "02:00:00:00:01:02"]);
    }

    #[test]
    fn what_was_heard_long_ago_tells_nothing_of_now() {
        assert_eq!(shop().later(16).reigning, Some(Reigning { seen_seconds: Some(20), ..shop().reigning.unwrap() }));
        let old = shop().later(17);
        let reigning = old.reigning.unwrap();
        assert_eq!((reigning.standing.as_str(), reigning.seen_seconds, reigning.vip), ("unknown", Some(21), seen("unknown")));
        assert_eq!(reigning.dns.values().collect::<Vec<_>>(), ["unknown"]);
        assert_eq!((old.members[0].vip.clone(), old.lease_left_seconds), (seen("02:00:00:00:01:02"), 8));
        assert_eq!(shop().later(20).members[0].vip, seen("unknown"));
        let mut silent = shop();
        silent.reigning = Some(Reigning { seen_seconds: None, ..shop().reigning.unwrap() });
        assert!(silent.clone().later(0).text().contains("never") && silent.later(0).reigning.unwrap().standing == "unknown");
    }
}
