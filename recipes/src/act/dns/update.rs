//! The means *update*: RFC 2136 with TSIG, one message for the whole change.
//!
//! Every set that is declared is a prerequisite with its very values, so nothing changes unless all is as it was seen; the server raises the serial. What it answers
//! counts only when it is signed with the key.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::ask::{self, exchange};
use super::fault::Fault;
use super::message::{Answer, Message, code};
use super::name::Name;
use super::set::{Kind, Set};
use super::tsig::{Doubt, Key};
use crate::act::budget::Budget;

const YXRRSET: u8 = 7;
const NXRRSET: u8 = 8;

#[derive(Debug, Clone)]
pub struct Update {
    /// The primary server.
    pub server: SocketAddr,
    pub key_file: PathBuf,
}

impl Update {
    pub(super) fn key(&self) -> Result<Key, Fault> {
        let hint = "make one with `tsig-keygen NAME`, let the primary know it, and keep it here with mode 600";
        Key::open(&self.key_file)
            .map_err(|error| Fault::stop(format!("cannot use the key in {}: {error}", self.key_file.display())).with(hint))
    }

    pub(super) fn look(&self, of: &[(Name, Kind)], budget: &Budget) -> Result<Vec<Set>, Fault> {
        let at = self.server;
        let look = |(name, kind): &(Name, Kind)| {
            let said =
                ask::set(at, name, *kind, budget).map_err(|why| Fault::again(format!("{at} does not say what {name} {kind} is: {why}")))?;
            match (said.authoritative, said.alias) {
                (false, _) => Err(Fault::stop(format!("{at} has no authority for {name}")).with("name the zone's primary as `server`")),
                (_, Some(alias)) => Err(Fault::stop(format!("{name} is an alias of {alias}")).with("declare the name it stands for")),
                _ => Ok(said.set),
            }
        };
        of.iter().map(look).collect()
    }

    pub(super) fn change(&self, zone: &Name, now: &[Set], want: &[Set], clock_s: u64, budget: &Budget) -> Result<(), Fault> {
        let key = self.key()?;
        let mut answer = self.send(&key, (zone, now, want), clock_s, budget)?;
        if answer == NXRRSET {
            let own = now
                .iter()
                .map(|set| self.own(&key, zone, set, clock_s, budget))
                .collect::<Result<Vec<_>, Fault>>()?;
            if own != now {
                answer = self.send(&key, (zone, &own, want), clock_s, budget)?;
            }
        }
        judged(self.server, answer)
    }

    /// Without what a name has by a wildcard only: there are no such records of its own.
    fn own(&self, key: &Key, zone: &Name, set: &Set, clock_s: u64, budget: &Budget) -> Result<Set, Fault> {
        let of = |name| ask::set(self.server, &name, set.kind, budget).ok();
        let as_a_wildcard = set.name.wildcards(zone).into_iter().filter_map(of).any(|said| said.set.values == set.values);
        // An update that changes nothing asks for what stands there by itself.
        let is_borrowed = !set.values.is_empty()
            && as_a_wildcard
            && self.send(key, (zone, std::slice::from_ref(set), std::slice::from_ref(set)), clock_s, budget)? == NXRRSET;
        Ok(if is_borrowed { Set::empty(set.name.clone(), set.kind) } else { set.clone() })
    }

    /// Sends one update; the code of the server's answer.
    fn send(&self, key: &Key, (zone, now, want): (&Name, &[Set], &[Set]), clock_s: u64, budget: &Budget) -> Result<u8, Fault> {
        let at = self.server;
        let mut message = Message::update(ask::id(), zone, now, want);
        let signed = key.sign(&mut message, clock_s);
        let unsure = "whether it was done is not known: look with `importer dns verify`, and try again";
        let bytes =
            exchange(at, &message.bytes, budget).map_err(|error| Fault::again(format!("{at} did not answer: {error}")).with(unsure))?;
        let answer = Answer::read(&bytes).filter(|answer| message.bytes.starts_with(&answer.id.to_be_bytes()));
        let answer = answer.ok_or_else(|| Fault::again(format!("the answer of {at} cannot be understood")).with(unsure))?;
        match key.verify(&bytes, &answer, &signed, clock_s) {
            Ok(()) => Ok(answer.code),
            Err(doubt) => Err(doubted(at, key, &answer, &doubt, clock_s)),
        }
    }
}

fn judged(at: SocketAddr, answer: u8) -> Result<(), Fault> {
    let said = format!("{at} answers {}", code(answer));
    match answer {
        0 => Ok(()),
        YXRRSET | NXRRSET => Err(Fault::again(format!("{said}; somebody changed it meanwhile, and nothing was changed here"))),
        2 => Err(Fault::again(said)),
        5 => Err(Fault::stop(said).with("let the primary's `update-policy` or `acl` allow this key to update these names")),
        _ => Err(Fault::stop(said)),
    }
}

fn doubted(at: SocketAddr, key: &Key, answer: &Answer, doubt: &Doubt, clock_s: u64) -> Fault {
    let name = key.name();
    match doubt {
        Doubt::Key => Fault::stop(format!("{at} does not know the key {name} (BADKEY): nothing was changed"))
            .with("let the primary know this key, under this name and with this algorithm"),
        Doubt::Signature => Fault::stop(format!("the key {name} is another one at {at} (BADSIG): nothing was changed"))
            .with("put the same secret on both sides"),
        Doubt::Clock(Some(theirs)) => {
            let way = if *theirs > clock_s { "behind" } else { "ahead of" };
            Fault::again(format!(
                "the clock of this host is {} s {way} that of {at} (BADTIME): nothing was changed",
                theirs.abs_diff(clock_s)
            ))
            .with("set the clock of this host, or of the other")
        }
        Doubt::Clock(None) => {
            Fault::again(format!("the clocks of this host and of {at} differ (BADTIME): nothing was changed")).with("set them")
        }
        Doubt::Unsigned if answer.code == 0 => {
            Fault::stop(format!("{at} says that it is done, and does not sign it: that is not believed"))
                .with("look with `importer dns verify`; somebody may be in between")
        }
        // Some servers refuse without a signature.
        Doubt::Unsigned => Fault::stop(format!("{at} answers {}, unsigned", code(answer.code)))
            .with("let the primary know this key, and allow it to update these names"),
        Doubt::Forged => Fault::stop(format!("the answer of {at} is not signed with the key {name}: it is not believed"))
            .with("look with `importer dns verify`; the secret may be another on that side"),
        Doubt::Other(error) => Fault::stop(format!("{at} refuses the signature with code {error}")),
    }
}
