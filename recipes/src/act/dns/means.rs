//! The ways to change a zone, behind one face.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::json;

use super::ask;
use super::dyndns::Service;
use super::fault::Fault;
use super::file::ZoneFile;
use super::name::Name;
use super::set::{Kind, Set};
use super::update::Update;
use crate::act::Call;
use crate::act::budget::Budget;
use crate::act::program::{Told, Words};
use crate::act::record::Journal;

pub const PORT: u16 = 53;

#[derive(Debug, Clone)]
pub enum Means {
    ZoneFile(ZoneFile),
    Update(Update),
    Dyndns2(Service),
    /// A program of the administrator's.
    Hook(Vec<std::ffi::OsString>),
}

/// One change, as a means needs it.
pub(super) struct Change<'a> {
    /// What the act is called.
    pub name: &'a str,
    pub action: &'a str,
    pub zone: &'a Name,
    pub domain: &'a Name,
    /// What there is, where that can be seen.
    pub now: Option<&'a [Set]>,
    pub want: &'a [Set],
    pub clock_s: u64,
    pub records: &'a Path,
}

impl Means {
    /// Whether it can say how long answers are remembered.
    pub fn keeps_ttl(&self) -> bool {
        !matches!(self, Means::Dyndns2(_))
    }

    /// The server that is asked first.
    pub(super) fn primary(&self) -> Option<SocketAddr> {
        match self {
            Means::Update(update) => Some(update.server),
            Means::ZoneFile(_) => Some((Ipv4Addr::LOCALHOST, PORT).into()),
            _ => None,
        }
    }

    /// The sets as they are at the source; nothing where nobody knows, and the servers tell.
    pub(super) fn look(
        &self,
        zone: &Name,
        of: &[(Name, Kind)],
        servers: &[SocketAddr],
        budget: &Budget,
    ) -> Result<Option<Vec<Set>>, Fault> {
        match (self, servers.first()) {
            (Means::ZoneFile(file), _) => file.look(zone, of, budget).map(Some),
            (Means::Update(update), _) => update.look(of, budget).map(Some),
            (_, None) => Ok(None),
            (_, Some(server)) => {
                let look = |(name, kind): &(Name, Kind)| ask::set(*server, name, *kind, budget).map(|said| said.set);
                // Whoever cannot be asked says nothing: the change is made without.
                Ok(of.iter().map(look).collect::<Result<Vec<_>, _>>().ok())
            }
        }
    }

    /// Whether it would be taken, as far as that can be told without a change.
    pub(super) fn admitted(&self, zone: &Name, budget: &Budget) -> Result<(), Fault> {
        match self {
            Means::ZoneFile(file) => file.admitted(zone, budget),
            Means::Update(update) => update.key().map(drop),
            Means::Dyndns2(service) => service.password().map(drop),
            Means::Hook(words) => {
                let program = words.first().map(Path::new).unwrap_or(Path::new(""));
                let why = crate::act::program::unfit(program);
                why.map_or(Ok(()), |why| Err(Fault::stop(format!("{} {why}", program.display()))))
            }
        }
    }

    /// The lines of the zone that would go and come.
    pub(super) fn difference(&self, zone: &Name, now: &[Set], want: &[Set], budget: &Budget) -> Result<Vec<String>, Fault> {
        if let Means::ZoneFile(file) = self {
            return file.difference(zone, now, want, budget);
        }
        let changed: Vec<(&Set, &Set)> = now.iter().zip(want).filter(|(now, want)| now != want).collect();
        let gone = changed.iter().flat_map(|(now, _)| now.lines()).map(|line| format!("-{line}"));
        Ok(gone
            .chain(changed.iter().flat_map(|(_, want)| want.lines()).map(|line| format!("+{line}")))
            .collect())
    }

    /// Brings it about. The serial is the last that was written here, and becomes the new one where there is a file.
    pub(super) fn change(
        &self,
        change: &Change<'_>,
        serial: &mut Option<u32>,
        (journal, call, budget): (&Journal, &Call, &Budget),
    ) -> Result<(), Fault> {
        let now = change.now.unwrap_or_default();
        match self {
            Means::ZoneFile(file) => file.change(change.zone, (now, change.want), serial, change.records, budget),
            Means::Update(update) => update.change(change.zone, now, change.want, change.clock_s, budget),
            Means::Dyndns2(service) => service.change(change.want, budget),
            Means::Hook(words) => {
                let dns = json!({
                    "action": change.action,
                    "domain": change.domain,
                    "zone": change.zone,
                    "now": change.now,
                    "records": change.want,
                });
                let told = Told { dns: Some(dns), ..Told::of("dns", change.name, call, budget) };
                let ran = Words::new(words).and_then(|words| words.run(journal, &told, budget.left()));
                ran.map_err(|error| Fault::again(crate::told(&error)))
            }
        }
    }

    /// Has the server take up what a killed process wrote.
    pub(super) fn finish(&self, zone: &Name, budget: &Budget) -> Result<(), Fault> {
        match self {
            Means::ZoneFile(file) => file.reload(zone, budget),
            _ => Ok(()),
        }
    }
}
