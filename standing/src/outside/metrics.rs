//! Addresses and names as Prometheus text.

use super::{Address, Domain, Pointing, State};
use crate::health::{escaped, head};
use std::fmt::Write;
use watch::Word;

const STATES: [(&str, State); 5] = [
    ("here", State::Here),
    ("elsewhere", State::Elsewhere),
    ("nobody", State::Nobody),
    ("conflict", State::Conflict),
    ("unknown", State::Unknown),
];
const POINTINGS: [(&str, Pointing); 5] = [
    ("here", Pointing::Here),
    ("node", Pointing::Node),
    ("elsewhere", Pointing::Elsewhere),
    ("differ", Pointing::Differ),
    ("unknown", Pointing::Unknown),
];

type Figure<'a, T> = (&'a str, &'a str, fn(&T) -> String);

/// Writes what each has; nothing where there is none.
fn each<T>(text: &mut String, list: &[T], name: fn(&T) -> String, figures: &[Figure<'_, T>]) {
    for (figure, means, value) in figures.iter().filter(|_| !list.is_empty()) {
        head(text, figure, "gauge", means);
        for one in list {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "resilient_{figure}{{{}}} {}", name(one), value(one));
        }
    }
}

fn states<T, S: PartialEq>(
    text: &mut String,
    list: &[T],
    name: fn(&T) -> String,
    (figure, means): (&str, &str),
    known: &[(&str, S)],
    of: fn(&T) -> S,
) {
    if list.is_empty() {
        return;
    }
    head(text, figure, "gauge", means);
    for one in list {
        for (state, value) in known {
            let _ = writeln!(text, "resilient_{figure}{{{},state=\"{state}\"}} {}", name(one), u8::from(of(one) == *value));
        }
    }
}

fn age(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "+Inf".into(), |seconds| seconds.to_string())
}

fn ok(word: Word) -> String {
    u8::from(word == Word::Ok).to_string()
}

pub fn text(text: &mut String, addresses: &[Address], domains: &[Domain]) {
    let name = |of: &Address| format!("address=\"{}\",interface=\"{}\"", escaped(&of.address), escaped(&of.interface));
    let what = ("vip_state", "Where an address is, as this node sees it: 1 for the state that it is in.");
    states(text, addresses, name, what, &STATES, |of| of.state);
    each(
        text,
        addresses,
        name,
        &[
            ("vip_ok", "1 when an address is where this node's part says that it should be.", |of| ok(of.word)),
            ("vip_left_seconds", "How long the kernel here keeps an address; 0 when it is not here.", |of| {
                of.left_seconds.unwrap_or(0).to_string()
            }),
            ("vip_seen_seconds", "How long ago it was looked where an address is.", |of| age(of.age_seconds)),
        ],
    );
    let name = |of: &Domain| format!("domain=\"{}\"", escaped(&of.domain));
    let what = ("dns_state", "Where a domain points, by its authoritative servers: 1 for the state that it is in.");
    states(text, domains, name, what, &POINTINGS, |of| of.state);
    each(
        text,
        domains,
        name,
        &[
            ("dns_ok", "1 when a domain points where this node's part says that it should.", |of| ok(of.word)),
            ("dns_servers", "Authoritative servers of a domain, each at each address.", |of| of.servers.len().to_string()),
            ("dns_servers_alike", "Those that point here on the active node, and where most do on others.", |of| of.well.to_string()),
            ("dns_seen_seconds", "How long ago the servers of a domain were asked.", |of| age(of.age_seconds)),
        ],
    );
}
