//! What an observation means for this node: the word, and a sentence that says what to do.

use super::{Asked, Looked, Meant, OLD_MS, Part, Pointing, Says, State};
use crate::place::ago;
use watch::Word;

/// A look, with what members are asked, takes no longer: what is left of an address is extended meanwhile, as long as this node renews.
const LOOKED_MS: u64 = 10_000;

impl Looked {
    pub fn is_old(&self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.at_ms) > OLD_MS
    }

    pub fn state(&self) -> State {
        match (&self.unseen, self.here, self.others.len()) {
            (Some(_), ..) => State::Unknown,
            (None, true, 0) => State::Here,
            (None, false, 0) => State::Nobody,
            (None, false, 1) => State::Elsewhere,
            _ => State::Conflict,
        }
    }

    /// Link addresses of all that have it.
    pub fn holders(&self) -> Vec<String> {
        let own = self.own.iter().filter(|_| self.here);
        own.chain(&self.others).cloned().collect()
    }

    /// In a word, for a table: whose it is.
    pub fn short(&self) -> String {
        match self.state() {
            State::Here => "here".into(),
            State::Elsewhere => self.others.join(" "),
            State::Nobody => "nobody".into(),
            State::Conflict => "conflict".into(),
            State::Unknown => "unknown".into(),
        }
    }

    pub(super) fn left_at(&self, now_ms: u64) -> Option<u64> {
        Some(self.left_seconds?.saturating_sub(now_ms.saturating_sub(self.at_ms) / 1000))
    }

    pub fn judged(&self, part: Part, now_ms: u64) -> (Word, String) {
        let holders = self.holders().join(" and ");
        match (self.state(), part) {
            (State::Unknown, _) => {
                let why = self.unseen.as_deref().unwrap_or("it is not known why");
                (Word::Failing, format!("it cannot be seen who has it: {why}"))
            }
            (State::Conflict, _) => (
                Word::Failing,
                format!(
                    "{holders} all say that they have it: find out with `importer vip watch` which host should not, and take it from that one"
                ),
            ),
            (State::Here, Part::Active) => self.held(now_ms),
            (State::Elsewhere, Part::Active) => (
                Word::Failing,
                format!(
                    "this node is active, and {holders} has it: take it from that host, or turn it off; the log of `importer serve` says why it is not here"
                ),
            ),
            (State::Nobody, Part::Active) => {
                (Word::Failing, "this node is active, and nobody has it: see the log of `importer serve`, and `importer vip check`".into())
            }
            (State::Here, Part::Rests) => {
                (Word::Failing, "this node stands by, and has it: `importer vip release`; see who put it there".into())
            }
            (State::Elsewhere, Part::Rests) => (Word::Ok, format!("{holders} has it")),
            (State::Nobody, Part::Rests) => {
                (Word::Late, "nobody has it, so nobody is reached by it: see `importer status` on the active node".into())
            }
            (_, Part::Turns) => (Word::Late, "the role changes hands".into()),
        }
    }

    fn held(&self, now_ms: u64) -> (Word, String) {
        let own = self.own.as_deref().unwrap_or_default();
        let beside = "take it out of the host's own network configuration";
        match self.left_at(now_ms) {
            _ if self.astray => return (Word::Failing, format!("it is on another interface of this host: {beside}")),
            None => return (Word::Failing, format!("it is here without an end, so not by `importer serve`: {beside}")),
            Some(0) if now_ms.abs_diff(self.at_ms) > LOOKED_MS => {
                let what = format!(
                    "it was here {} ago, for less than that, and it was not looked since: see that `importer serve` runs here",
                    ago(self.at_ms, now_ms)
                );
                return (Word::Late, what);
            }
            Some(_) => {}
        }
        if let Some(by) = self.by.iter().find(|by| by.holders.iter().any(|holder| holder != own) || by.holders.is_empty()) {
            let whom = if by.holders.is_empty() { "nobody".into() } else { by.holders.join(" and ") };
            let what =
                format!("it is here, and yet {} sees {whom} have it: see the switch between them, and `importer vip watch`", by.node);
            return (Word::Failing, what);
        }
        let names: Vec<&str> = self.by.iter().map(|by| by.node.as_str()).collect();
        let seen =
            if names.is_empty() { "no other member has said what it sees".into() } else { format!("{} sees it here", names.join(" and ")) };
        (Word::Ok, format!("it is here; {seen}"))
    }
}

impl Asked {
    /// The node to which all servers point.
    pub fn node(&self) -> Option<&str> {
        let mut nodes = self.server.iter().map(|server| match &server.says {
            Says::To(node) => Some(node.as_str()),
            _ => None,
        });
        let first = nodes.next()??;
        nodes.all(|node| node == Some(first)).then_some(first)
    }

    pub fn state(&self, own: &str) -> Pointing {
        let is = |wanted: fn(&Says) -> bool| self.server.iter().all(|server| wanted(&server.says));
        match self.node() {
            _ if self.unseen.is_some() || self.server.is_empty() || is(|says| matches!(says, Says::Silent(_))) => Pointing::Unknown,
            Some(node) if node == own => Pointing::Here,
            Some(_) => Pointing::Node,
            None if is(|says| matches!(says, Says::Elsewhere(_))) => Pointing::Elsewhere,
            None => Pointing::Differ,
        }
    }

    fn count(&self, node: &str) -> usize {
        self.server.iter().filter(|server| matches!(&server.says, Says::To(to) if to == node)).count()
    }

    /// How many point where they should, as far as this node can tell.
    pub(super) fn well(&self, own: &str, part: Part) -> usize {
        if part == Part::Active { self.count(own) } else { self.most().map_or(0, |most| self.count(most)) }
    }

    /// The node to which most servers point.
    fn most(&self) -> Option<&str> {
        let nodes = self.server.iter().filter_map(|server| match &server.says {
            Says::To(node) => Some(node.as_str()),
            _ => None,
        });
        nodes.max_by_key(|node| self.count(node))
    }

    /// In a word, for a table: to whom it points, or how many do.
    pub fn short(&self, own: &str) -> String {
        match self.state(own) {
            Pointing::Here => "here".into(),
            Pointing::Node => self.node().unwrap_or_default().to_owned(),
            Pointing::Elsewhere => "elsewhere".into(),
            Pointing::Differ => match self.most() {
                Some(most) => {
                    let to = if most == own { "here" } else { most };
                    format!("{} of {} {to}", self.count(most), self.server.len())
                }
                None => format!("0 of {}", self.server.len()),
            },
            Pointing::Unknown => "unknown".into(),
        }
    }

    /// Those that do not point there, and what they say.
    fn others(&self, node: &str) -> String {
        let words = self.server.iter().filter_map(|server| {
            let name = if server.name == server.at { server.name.clone() } else { format!("{} at {}", server.name, server.at) };
            match &server.says {
                Says::To(to) if to == node => None,
                Says::To(to) => Some(format!("{name} points to {to}")),
                Says::Elsewhere(what) => Some(format!("{name} has {what}")),
                Says::Silent(why) => Some(format!("{name} is silent: {why}")),
            }
        });
        words.collect::<Vec<_>>().join("; ")
    }

    pub fn judged(&self, meant: &Meant<'_>, part: Part) -> (Word, String) {
        let (state, all) = (self.state(meant.node), self.server.len());
        let action = if meant.is_home { "restore" } else { "failover" };
        let point = match meant.automatic {
            true => format!(
                "a takeover points it by itself, and the log of `importer serve` says how that went; by hand: `importer dns {action} --domain {}`",
                meant.domain
            ),
            false => format!("`importer dns {action} --domain {}`", meant.domain),
        };
        match (state, part) {
            (Pointing::Unknown, _) => {
                let why = self.unseen.clone().unwrap_or_else(|| self.others(""));
                (Word::Failing, format!("its servers cannot be asked: {why}"))
            }
            (Pointing::Here, Part::Active) => (Word::Ok, format!("points here, by {all} of {all} servers")),
            (Pointing::Differ, Part::Active) if self.has_only_silence_beside(meant.node) => {
                let what = format!(
                    "{} of {all} servers point here; {}: mend it, or take it out of the zone",
                    self.count(meant.node),
                    self.others(meant.node)
                );
                (Word::Failing, what)
            }
            (_, Part::Active) => {
                let what = format!(
                    "this node is active, and {} of {all} servers point here; {}: {point}",
                    self.count(meant.node),
                    self.others(meant.node)
                );
                (Word::Failing, what)
            }
            (_, Part::Turns) => (Word::Late, "the role changes hands".into()),
            (Pointing::Node, Part::Rests) => {
                (Word::Ok, format!("points to {}, by {all} of {all} servers", self.node().unwrap_or_default()))
            }
            (Pointing::Here, Part::Rests) => (
                Word::Failing,
                "points here, and this node stands by: the active node points it to itself; see `importer status` there".into(),
            ),
            (Pointing::Elsewhere, Part::Rests) => (Word::Failing, format!("points to none of the nodes: {}", self.others(""))),
            (Pointing::Differ, Part::Rests) => {
                let most = self.most().unwrap_or_default();
                (Word::Failing, format!("{} of {all} servers point to {most}; {}", self.count(most), self.others(most)))
            }
        }
    }

    /// Whoever answers points there.
    fn has_only_silence_beside(&self, node: &str) -> bool {
        self.server
            .iter()
            .all(|server| matches!(&server.says, Says::To(to) if to == node) || matches!(server.says, Says::Silent(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kept, SeenBy, Server};
    use super::*;

    const NOW: u64 = 1_000_000;

    fn looked(here: bool, others: &[&str]) -> Looked {
        let others = others.iter().map(|mac| (*mac).to_owned()).collect();
        let (own, left_seconds) = (Some("02:1".into()), here.then_some(4));
        Looked { address: "192.0.2.80".into(), at_ms: NOW, own, here, left_seconds, others, ..Looked::default() }
    }

    fn asked(says: &[Says]) -> Asked {
        let server = says.iter().enumerate().map(|(at, says)| {
            let at = format!("192.0.2.{at}:53");
            Server { name: at.clone(), at, says: says.clone() }
        });
        Asked { domain: "example.org".into(), at_ms: NOW, server: server.collect(), unseen: None }
    }

    fn to(node: &str) -> Says {
        Says::To(node.into())
    }

    fn meant() -> Meant<'static> {
        Meant { domain: "example.org", node: "web2", is_home: false, automatic: false, every_ms: 30_000 }
    }

    #[test]
    fn an_address_is_well_only_where_the_part_says_it_should_be() {
        let unseen = Looked { unseen: Some("eth0 is not there".into()), ..looked(false, &[]) };
        let endless = Looked { left_seconds: None, ..looked(true, &[]) };
        let astray = Looked { astray: true, ..looked(true, &[]) };
        let (ok, late, failing) = (Word::Ok, Word::Late, Word::Failing);
        for (look, active, turns, rests) in [
            (looked(true, &[]), ok, late, failing),
            (looked(false, &["02:2"]), failing, late, ok),
            (looked(false, &[]), failing, late, late),
            (looked(true, &["02:2"]), failing, failing, failing),
            (looked(false, &["02:2", "02:3"]), failing, failing, failing),
            (unseen, failing, failing, failing),
            (endless, failing, late, failing),
            (astray, failing, late, failing),
        ] {
            let words = [Part::Active, Part::Turns, Part::Rests].map(|part| look.judged(part, NOW).0);
            assert_eq!(words, [active, turns, rests], "{look:?}");
        }
    }

    #[test]
    fn what_another_member_sees_counts_against_the_own_kernel() {
        for (holders, word) in [(vec!["02:1".to_owned()], Word::Ok), (vec!["02:2".to_owned()], Word::Failing), (vec![], Word::Failing)] {
            let by = vec![SeenBy { node: "web2".into(), at_ms: NOW, holders }];
            assert_eq!(Looked { by: by.clone(), ..looked(true, &[]) }.judged(Part::Active, NOW).0, word, "{by:?}");
        }
    }

    #[test]
    fn what_was_never_seen_or_long_ago_is_not_ok() {
        let kept = Kept { address: vec![looked(true, &[])], domain: vec![asked(&[to("web2")])] };
        let address = |address: &str, now_ms| kept.address(address, "eth0", Part::Active, now_ms);
        let domain = |now_ms| kept.domain(&meant(), Part::Active, now_ms);
        assert_eq!((address("192.0.2.80", NOW).word, domain(NOW).word), (Word::Ok, Word::Ok));
        for now_ms in [NOW + 120_000, NOW - 120_000] {
            let old = address("192.0.2.80", now_ms);
            assert_eq!((old.word, old.state, old.left_seconds), (Word::Late, State::Unknown, None));
            assert_eq!((domain(now_ms).word, domain(now_ms).state), (Word::Late, Pointing::Unknown));
        }
        assert_eq!(address("192.0.2.81", NOW).word, Word::Never);
        assert_eq!(Kept::default().domain(&meant(), Part::Rests, NOW).word, Word::Never);
        // What the kernel was told is over, and nobody looked.
        assert_eq!(address("192.0.2.80", NOW + 10_000).word, Word::Ok);
        assert_eq!(address("192.0.2.80", NOW + 10_001).word, Word::Late);
        // What the kernel keeps it for has run since.
        assert_eq!(address("192.0.2.80", NOW + 3000).left_seconds, Some(1));
    }

    #[test]
    fn names_are_well_only_when_every_server_says_what_the_part_wants() {
        let (silent, other) = (Says::Silent("no answer".into()), Says::Elsewhere("203.0.113.9".into()));
        let (ok, failing) = (Word::Ok, Word::Failing);
        for (says, state, well, active, rests) in [
            (vec![to("web2"), to("web2")], Pointing::Here, 2, ok, failing),
            (vec![to("web1"), to("web1")], Pointing::Node, 0, failing, ok),
            (vec![to("web2"), silent.clone()], Pointing::Differ, 1, failing, failing),
            (vec![to("web1"), to("web2")], Pointing::Differ, 1, failing, failing),
            (vec![other.clone(), other], Pointing::Elsewhere, 0, failing, failing),
            (vec![silent.clone(), silent], Pointing::Unknown, 0, failing, failing),
            (vec![], Pointing::Unknown, 0, failing, failing),
        ] {
            let asked = asked(&says);
            assert_eq!((asked.state("web2"), asked.well("web2", Part::Active)), (state, well), "{says:?}");
            let words = [Part::Active, Part::Rests].map(|part| asked.judged(&meant(), part).0);
            assert_eq!(words, [active, rests], "{says:?}");
        }
    }

    #[test]
    fn a_word_says_whose_it_is() {
        let silent = || Says::Silent("no answer".into());
        for (says, word) in [
            (vec![to("web2"), to("web2")], "here"),
            (vec![to("web1"), to("web1")], "web1"),
            (vec![to("web1"), to("web1"), to("web2")], "2 of 3 web1"),
            (vec![to("web2"), silent()], "1 of 2 here"),
            (vec![Says::Elsewhere("203.0.113.9".into()), silent()], "0 of 2"),
            (vec![silent()], "unknown"),
        ] {
            assert_eq!(asked(&says).short("web2"), word, "{says:?}");
        }
        assert_eq!(looked(true, &["02:2"]).short(), "conflict");
        assert_eq!(looked(false, &["02:2"]).short(), "02:2");
    }

    #[test]
    fn a_sentence_says_what_to_do() {
        let why = |says: &[Says]| asked(says).judged(&meant(), Part::Active).1;
        assert_eq!(
            why(&[to("web1"), to("web2")]),
            "this node is active, and 1 of 2 servers point here; 192.0.2.0:53 points to web1: `importer dns failover --domain example.org`"
        );
        assert_eq!(
            why(&[to("web2"), Says::Silent("no answer".into())]),
            "1 of 2 servers point here; 192.0.2.1:53 is silent: no answer: mend it, or take it out of the zone"
        );
    }
}
