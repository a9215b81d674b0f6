//! The means *dyndns2*: the protocol of dynamic DNS services, one GET for all names that get the same addresses.
//!
//! `good` and `nochg` succeed. What the service says of the account or the name (`badauth`, `abuse`, `nohost` and their like) is said to a person and not asked again,
//! since services lock accounts that go on asking. `911`, `dnserr` and failures of the web server pass: later.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::fault::Fault;
use super::name::Name;
use super::set::{Kind, Set};
use super::web::{Url, get};
use crate::act::budget::Budget;

/// Services refuse longer lists.
const NAMES_MAX: usize = 20;

#[derive(Debug, Clone)]
pub struct Service {
    pub url: Url,
    pub user: String,
    pub password_file: PathBuf,
}

impl Service {
    pub(super) fn password(&self) -> Result<String, Fault> {
        let path = self.password_file.display();
        crate::secret::read(&self.password_file).map_err(|error| Fault::stop(format!("cannot use the password in {path}: {error}")))
    }

    pub(super) fn change(&self, want: &[Set], budget: &Budget) -> Result<(), Fault> {
        let password = self.password()?;
        for (addresses, names) in wishes(want)? {
            for names in names.chunks(NAMES_MAX) {
                self.ask(&names.iter().map(Name::plain).collect::<Vec<_>>(), &addresses, &password, budget)?;
            }
        }
        Ok(())
    }

    fn ask(&self, names: &[String], addresses: &[IpAddr], password: &str, budget: &Budget) -> Result<(), Fault> {
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let url = self.url.with(&format!("hostname={}&myip={}", names.join(","), addresses.join(",")));
        let host = self.url.host();
        let (status, text) =
            get(&url, &self.user, password, budget.left()).map_err(|why| Fault::again(format!("{host} did not answer: {why}")))?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let known = lines.iter().any(|line| judged(line).is_some());
        match status {
            _ if known => {}
            401 | 403 => return Err(stopped(host, "badauth")),
            200 => return Err(Fault::again(format!("the answer of {host} cannot be understood: {:?}", shown(&text)))),
            400..=499 => return Err(Fault::stop(format!("{host} answers with status {status}: {:?}", shown(&text)))),
            _ => return Err(Fault::again(format!("{host} answers with status {status}"))),
        }
        for line in lines {
            match judged(line) {
                Some(Judged::Done) => {}
                Some(Judged::Later) => return Err(Fault::again(format!("{host} answers {line:?}: it cannot do it now"))),
                _ => return Err(stopped(host, line)),
            }
        }
        Ok(())
    }
}

enum Judged {
    Done,
    Later,
    Never,
}

fn judged(line: &str) -> Option<Judged> {
    match line.split_whitespace().next()? {
        "good" | "nochg" => Some(Judged::Done),
        "911" | "dnserr" => Some(Judged::Later),
        "badauth" | "badagent" | "abuse" | "nohost" | "notfqdn" | "numhost" | "!donator" | "!yours" | "badsys" => Some(Judged::Never),
        _ => None,
    }
}

fn stopped(host: &str, line: &str) -> Fault {
    let hint = match line.split_whitespace().next().unwrap_or_default() {
        "badauth" => "the name or the password is wrong there; it is not asked again before somebody changes it",
        "abuse" => "the service has blocked this name for asking too often; ask the service to lift that",
        "nohost" | "notfqdn" | "!yours" => "this account has no such name there",
        _ => "look at what the service says of this answer; it is not asked again before somebody changes something",
    };
    Fault::stop(format!("{host} answers {line:?}")).with(hint)
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Which names get which addresses.
fn wishes(want: &[Set]) -> Result<BTreeMap<Vec<IpAddr>, Vec<Name>>, Fault> {
    let mut of: BTreeMap<&Name, Vec<IpAddr>> = BTreeMap::new();
    for set in want {
        if ![Kind::A, Kind::AAAA].contains(&set.kind) {
            return Err(Fault::stop(format!("dyndns2 knows addresses only, no record {} {}", set.name, set.kind)));
        }
        of.entry(&set.name).or_default().extend(set.addresses());
    }
    let mut list: BTreeMap<Vec<IpAddr>, Vec<Name>> = BTreeMap::new();
    for (name, addresses) in of {
        if addresses.is_empty() {
            return Err(Fault::stop(format!("dyndns2 cannot take the last address from {name}")));
        }
        list.entry(addresses).or_default().push(name.clone());
    }
    Ok(list)
}
