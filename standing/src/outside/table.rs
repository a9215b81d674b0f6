//! Addresses and names for people.

use super::{Address, Domain, Pointing, State};
use console::human;
use console::table::Table;
use std::time::Duration;

fn safe(text: &str) -> String {
    human::text(text.as_bytes())
}

fn ago(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "never".into(), |seconds| format!("{} ago", human::duration(Duration::from_secs(seconds))))
}

/// A table each, where there is something; both end without a line's end.
pub fn text(addresses: &[Address], domains: &[Domain]) -> Vec<String> {
    let mut tables = Vec::new();
    if !addresses.is_empty() {
        let mut table = Table::new(&["ADDRESS", "INTERFACE", "IS", ">LEFT", "WORD", "SEEN", "WHY"]);
        for of in addresses {
            let at = match of.state {
                State::Here => "here".into(),
                State::Elsewhere => of.holders.join(" "),
                State::Nobody => "nobody's".into(),
                State::Conflict => "contested".into(),
                State::Unknown => "?".into(),
            };
            let left = of.left_seconds.map_or_else(|| "-".into(), |left| human::duration(Duration::from_secs(left)));
            table.row([safe(&of.address), safe(&of.interface), at, left, of.word.name().into(), ago(of.age_seconds), safe(&of.why)]);
        }
        tables.push(table.to_string().trim_end().to_owned());
    }
    if !domains.is_empty() {
        let mut table = Table::new(&["DOMAIN", "POINTS", "SERVERS", "WORD", "SEEN", "WHY"]);
        for of in domains {
            let to = match (of.state, &of.node) {
                (Pointing::Here, _) => "here".into(),
                (Pointing::Node, Some(node)) => format!("to {}", safe(node)),
                (Pointing::Elsewhere, _) => "elsewhere".into(),
                (Pointing::Differ, _) => "not alike".into(),
                _ => "?".into(),
            };
            let servers = format!("{} of {}", of.well, of.servers.len());
            table.row([safe(&of.domain), to, servers, of.word.name().into(), ago(of.age_seconds), safe(&of.why)]);
        }
        tables.push(table.to_string().trim_end().to_owned());
    }
    tables
}
