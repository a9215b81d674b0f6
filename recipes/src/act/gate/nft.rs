//! What the gate says to `nft`, and what it reads of its answers. Each batch is one transaction of the kernel's: all of it or nothing.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::super::program::{answer, unnamed};
use crate::data::{Finding, Level};
use crate::error::Error;

/// Before conntrack and before any translation of addresses.
const ARRIVING: i32 = -310;
/// After the last translation.
const LEAVING: i32 = 310;

#[derive(Debug, Clone)]
pub(super) struct Nft {
    program: PathBuf,
}

#[derive(Debug)]
pub(super) enum Fault {
    /// There is no such program.
    Missing(io::Error),
    Refused(io::Error),
    /// What is to be removed is not there.
    Gone(io::Error),
    Failed(io::Error),
}

/// The table as it stands in the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub ports: Vec<u16>,
    pub open: Vec<u16>,
    /// Both chains hang where they should, with their rules.
    pub guarded: bool,
}

/// For a moment, the next batch may open it. The element is made anew: adding one that is there leaves its old time.
pub(super) fn arm(table: &str, armed: Duration) -> String {
    let name = format!("inet {table} armed");
    format!(
        "add table inet {table}\nadd set {name} {{ type mark; flags timeout; }}\nadd element {name} {{ 1 }}\ndelete element {name} {{ 1 }}\n\
         add element {name} {{ 1 timeout {}ms }}\n",
        armed.as_millis().max(1)
    )
}

/// Refused whole when it is armed no more.
pub(super) fn open(table: &str, ports: &[u16], time: Duration) -> String {
    let time = format!(" timeout {}ms", time.as_millis().max(1));
    format!("delete element inet {table} armed {{ 1 }}\n{}", whole(table, ports, &each(ports, &time)))
}

pub(super) fn close(table: &str, ports: &[u16]) -> String {
    whole(table, ports, "")
}

/// What another configuration closed stays closed, too.
pub(super) fn close_all(was: &str, then: &[u16], table: &str, ports: &[u16]) -> String {
    let mut all: Vec<u16> = then.iter().chain(ports).copied().collect();
    all.sort_unstable();
    all.dedup();
    if was == table { close(table, &all) } else { remove(was) + &close(table, &all) }
}

pub(super) fn remove(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

fn each(ports: &[u16], time: &str) -> String {
    ports.iter().map(|port| format!("{port}{time}")).collect::<Vec<_>>().join(", ")
}

fn whole(table: &str, ports: &[u16], open: &str) -> String {
    let mut text = remove(table);
    let elements = if open.is_empty() { String::new() } else { format!(" elements = {{ {open} }};") };
    let _ = write!(
        text,
        "table inet {table} {{
  set ports {{ type inet_service; elements = {{ {} }}; }}
  set open {{ type inet_service; flags timeout;{elements} }}
  set armed {{ type mark; flags timeout; }}
  chain arriving {{
    type filter hook prerouting priority {ARRIVING}; policy accept;
    iifname \"lo\" accept
    fib daddr type local meta l4proto {{ tcp, udp }} th dport @ports th dport != @open drop
  }}
  chain leaving {{
    type filter hook postrouting priority {LEAVING}; policy accept;
    oifname \"lo\" accept
    fib saddr type local meta l4proto {{ tcp, udp }} th sport @ports th sport != @open drop
  }}
}}
",
        each(ports, "")
    );
    text
}

impl Nft {
    pub fn new(program: PathBuf) -> Nft {
        Nft { program }
    }

    fn ask(&self, arguments: &[&str], input: Stdio, limit: Duration) -> Result<String, Fault> {
        let mut command = Command::new(&self.program);
        command.args(arguments).stdin(input).env("LC_ALL", "C");
        // Where an administrator's PATH is short, it lies here all the same.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
        answer(command, limit).map_err(|error| {
            let said = error.to_string();
            match error.kind() {
                io::ErrorKind::NotFound => Fault::Missing(error),
                _ if said.contains("Operation not permitted") => Fault::Refused(error),
                _ if said.contains("No such file or directory") => Fault::Gone(error),
                _ => Fault::Failed(error),
            }
        })
    }

    pub fn run(&self, batch: Stdio, limit: Duration) -> Result<(), Fault> {
        self.ask(&["-f", "-"], batch, limit).map(drop)
    }

    /// Whether the kernel would take it.
    pub fn tries(&self, batch: &str, limit: Duration) -> Result<(), Fault> {
        let input = unnamed(batch.as_bytes()).map_err(Fault::Failed)?;
        self.ask(&["--check", "-f", "-"], input.into(), limit).map(drop)
    }

    /// The table, if there is one.
    pub fn look(&self, table: &str, limit: Duration) -> Result<Option<Seen>, Fault> {
        match self.ask(&["-j", "list", "table", "inet", table], Stdio::null(), limit) {
            Ok(text) => seen(&text)
                .map(Some)
                .ok_or_else(|| Fault::Failed(io::Error::other("its listing cannot be understood"))),
            Err(Fault::Gone(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

fn seen(text: &str) -> Option<Seen> {
    let listing: Value = serde_json::from_str(text).ok()?;
    let list = listing.get("nftables")?.as_array()?;
    let named =
        |kind: &'static str, name: &'static str| list.iter().filter_map(move |one| one.get(kind)).find(move |one| one["name"] == name);
    let hangs = |name, hook: &str, priority: i32| {
        let chain = named("chain", name);
        let rules = list.iter().filter_map(|one| one.get("rule")).filter(|rule| rule["chain"] == name).count();
        chain.is_some_and(|chain| chain["hook"] == hook && chain["prio"] == priority) && rules == 2
    };
    Some(Seen {
        ports: numbers(named("set", "ports")),
        open: numbers(named("set", "open")),
        guarded: hangs("arriving", "prerouting", ARRIVING) && hangs("leaving", "postrouting", LEAVING),
    })
}

/// The elements of a set: plain, or with their times.
fn numbers(set: Option<&Value>) -> Vec<u16> {
    let elements = set.and_then(|set| set.get("elem")?.as_array()).map(Vec::as_slice).unwrap_or_default();
    let number = |element: &Value| element.as_u64().or_else(|| element.get("elem")?.get("val")?.as_u64());
    elements.iter().filter_map(|element| u16::try_from(number(element)?).ok()).collect()
}

impl Fault {
    pub fn finding(self) -> Finding {
        match self {
            Fault::Missing(source) => Error::NoNft { source }.finding(),
            Fault::Refused(error) => Finding::new(Level::Fault, format!("the gate may not be changed: {error}"))
                .hint("run it as root, or with the capability CAP_NET_ADMIN"),
            Fault::Gone(error) | Fault::Failed(error) => {
                Finding::new(Level::Fault, format!("the kernel does not take the gate's table: {error}"))
                    .hint("it needs nf_tables with the family inet and `fib`, and nft with JSON")
            }
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        match fault {
            Fault::Missing(error) | Fault::Refused(error) | Fault::Gone(error) | Fault::Failed(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "resilient"}},
            {"set": {"name": "open", "flags": ["timeout"], "elem": [{"elem": {"val": 443, "timeout": 5, "expires": 4}}]}},
            {"set": {"name": "ports", "elem": [443, 8080]}},
            {"chain": {"name": "arriving", "hook": "prerouting", "prio": -310}}, {"rule": {"chain": "arriving"}}, {"rule": {"chain": "arriving"}},
            {"chain": {"name": "leaving", "hook": "postrouting", "prio": 310}}, {"rule": {"chain": "leaving"}}, {"rule": {"chain": "leaving"}}]}"#;
        assert_eq!(seen(text), Some(Seen { ports: vec![443, 8080], open: vec![443], guarded: true }));
        let without = text.replace("\"prio\": 310", "\"prio\": 0");
        assert_eq!(seen(&without), Some(Seen { ports: vec![443, 8080], open: vec![443], guarded: false }));
        assert_eq!(seen("no"), None);
    }

    #[test]
    fn what_another_configuration_closed_stays_closed() {
        assert_eq!(close_all("t", &[80, 90], "t", &[80, 443]), close("t", &[80, 90, 443]));
        assert!(close_all("old", &[80], "t", &[443]).starts_with("add table inet old\ndelete table inet old\n"));
    }
}
