//! How a host stands, for people: a line for each dataset and hop, one for each peer, and first of all the one word.

use crate::host::{Host, Line, Peer};
use crate::outside;
use crate::place::ago;
use console::human;
use console::table::Table;
use std::time::Duration;

fn safe(text: &str) -> String {
    human::text(text.as_bytes())
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

fn line(table: &mut Table, of: &Line, now_ms: u64) {
    let status = &of.status;
    let queued = match (status.queued_snapshots, status.queued_bytes) {
        (0, _) => "0".into(),
        (snapshots, bytes) => format!("{} ({})", human::count(snapshots), human::bytes(bytes)),
    };
    table.row([
        safe(&format!("{}/{}", status.place.cluster, status.place.dataset)),
        status.place.hop.name().into(),
        or_dash(status.place.peer.as_deref().map(safe)),
        status.verdict.word.name().into(),
        or_dash(status.age_seconds.map(|seconds| human::duration(Duration::from_secs(seconds)))),
        queued,
        or_dash(of.last_seen_ms.map(|at| format!("{} ago", ago(at, now_ms)))),
        safe(&status.verdict.why),
    ]);
}

fn peer(table: &mut Table, of: &Peer, now_ms: u64) {
    table.row([
        safe(&of.name),
        of.role.into(),
        or_dash(of.address.as_deref().map(safe)),
        of.word.name().into(),
        or_dash(of.last_seen_ms.map(|at| format!("{} ago", ago(at, now_ms)))),
        or_dash(of.bytes.map(human::bytes)),
        or_dash(of.given.map(human::bytes)),
        safe(&of.why),
    ]);
}

/// The whole text; ends without a line's end.
pub fn text(host: &Host) -> String {
    let mut parts = vec![format!("{} on {}: {}: {}", host.binary, safe(&host.host), host.word.name(), safe(&host.why))];
    parts.push(format!("daemon: {}: {}", host.daemon.word.name(), safe(&host.daemon.why)));
    if !host.datasets.is_empty() {
        let mut table = Table::new(&["DATASET", "HOP", "PEER", "WORD", ">AGE", ">QUEUED", "SEEN", "WHY"]);
        host.datasets.iter().for_each(|of| line(&mut table, of, host.at_ms));
        parts.push(format!("\n{}", table.to_string().trim_end()));
    }
    if !host.peers.is_empty() {
        let mut table = Table::new(&["PEER", "ROLE", "ADDRESS", "WORD", "SEEN", ">CAME", ">GIVEN", "WHY"]);
        host.peers.iter().for_each(|of| peer(&mut table, of, host.at_ms));
        parts.push(format!("\n{}", table.to_string().trim_end()));
    }
    if let Some(role) = &host.role {
        let lease = role
            .lease_left_seconds
            .map_or_else(String::new, |left| format!(", {} of its lease left", human::duration(Duration::from_secs(left))));
        parts.push(format!("\ntakeover: this node {}; epoch {}{lease}", safe(&role.standing), role.epoch));
    }
    parts.extend(outside::text(&host.addresses, &host.domains).into_iter().map(|table| format!("\n{table}")));
    parts.extend(host.arbiters.iter().map(|arbiter| format!("\n{}", arbiter.text())));
    for drill in &host.drills {
        let good = match drill.good_ms {
            0 => "there was no good one".to_owned(),
            at => format!("the last good one was {} ago", ago(at, host.at_ms)),
        };
        let took = human::duration(Duration::from_secs(drill.took_seconds));
        parts.push(match &drill.why {
            None => format!("drill of {}: good, {} ago, in {took}", safe(&drill.dataset), ago(drill.at_ms, host.at_ms)),
            Some(why) => {
                format!("drill of {}: FAILED {} ago: {}; {good}", safe(&drill.dataset), ago(drill.at_ms, host.at_ms), safe(why))
            }
        });
    }
    for open in &host.incidents {
        parts.push(format!(
            "incident: {} is {} since {}: {}",
            safe(&open.place.to_string()),
            open.word.name(),
            open.since,
            safe(&open.why)
        ));
    }
    for delivery in host
        .deliveries
        .iter()
        .filter(|delivery| delivery.waiting > 0 || delivery.lost > 0 || delivery.last_error.is_some())
    {
        let error = delivery.last_error.as_deref().map_or_else(String::new, |error| format!("; {}", safe(error)));
        parts.push(format!("alerts by {}: {} wait, {} lost{error}", delivery.channel, delivery.waiting, delivery.lost));
    }
    parts.join("\n")
}
