//! What a daemon tells without keys, on its plain health address: `/live`, `/ready`, `/status`, `/metrics`.
//!
//! `/live` says that the process answers and no more. `/ready` is 200 only while all is ok; else 503, and says why. All but `/live` are 503 when the daemon has
//! not looked for long: what was well once is no evidence.

use crate::arbiter::Arbiter;
use crate::host::{Host, Peer};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use watch::Word;

/// How the host stood at the last look.
#[derive(Clone)]
pub struct Newest {
    inside: Arc<Mutex<Option<(Instant, Arc<Host>)>>>,
    /// What is older tells nothing.
    old: Duration,
}

impl Newest {
    /// Of a daemon that looks so often.
    pub fn new(every: Duration) -> Newest {
        Newest { inside: Arc::default(), old: every * 3 + Duration::from_secs(10) }
    }

    pub fn set(&self, host: Arc<Host>) {
        *self.inside.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), host));
    }

    pub fn get(&self) -> Option<Arc<Host>> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.as_ref().filter(|(at, _)| at.elapsed() <= self.old).map(|(_, host)| host.clone())
    }
}

pub fn router(newest: Newest) -> Router {
    Router::new()
        .route("/live", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(newest)
}

fn unknown() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "never: this daemon has not looked yet, or not for long; see its log\n").into_response()
}

async fn ready(State(newest): State<Newest>) -> Response {
    match newest.get() {
        Some(host) if host.word == Word::Ok => "ready\n".into_response(),
        Some(host) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}: {}\n", host.word.name(), host.why)).into_response(),
        None => unknown(),
    }
}

async fn status(State(newest): State<Newest>) -> Response {
    newest.get().map_or_else(unknown, |host| axum::Json(&*host).into_response())
}

async fn metrics(State(newest): State<Newest>) -> Response {
    let answer = |host: Arc<Host>| ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text(&host)).into_response();
    newest.get().map_or_else(unknown, answer)
}

/// As Prometheus text: what `watch` has of datasets, and what is known of peers and alerts.
pub fn text(host: &Host) -> String {
    let mut text = watch::metrics::render(&host.statuses());
    let now = host.at_ms;
    let seen = |peer: &Peer| peer.last_seen_ms.map_or_else(|| "+Inf".into(), |at| (now.saturating_sub(at) / 1000).to_string());
    let peers = |text: &mut String, value: &dyn Fn(&Peer) -> String, name: &str, kind: &str, means: &str| {
        head(text, name, kind, means);
        for peer in &host.peers {
            let labels = format!("cluster=\"{}\",peer=\"{}\",role=\"{}\"", escaped(&peer.cluster), escaped(&peer.name), peer.role);
            // Writing into a String cannot fail.
            let _ = writeln!(text, "resilient_{name}{{{labels}}} {}", value(peer));
        }
    };
    peers(&mut text, &seen, "peer_seen_seconds", "gauge", "How long ago a peer was heard of.");
    peers(&mut text, &|peer| peer.bytes.unwrap_or(0).to_string(), "peer_bytes_total", "counter", "Bytes that came from a peer.");
    peers(&mut text, &|peer| peer.given.unwrap_or(0).to_string(), "peer_given_bytes_total", "counter", "Bytes that a peer was given.");
    peers(&mut text, &|peer| u8::from(peer.word == Word::Ok).to_string(), "peer_ok", "gauge", "1 when a peer does what it should.");
    head(&mut text, "last_drill_timestamp_seconds", "gauge", "When the last good drill of a dataset ended; 0 when none was good.");
    for drill in &host.drills {
        let _ =
            writeln!(text, "resilient_last_drill_timestamp_seconds{{dataset=\"{}\"}} {}", escaped(&drill.dataset), drill.good_ms / 1000);
    }
    if host.binary == "pull-backup" {
        head(&mut text, "quarantined_snapshots", "gauge", "Snapshots that are kept aside from the history, and are in none.");
        for aside in &host.quarantined {
            let (cluster, dataset, node) = (escaped(&aside.cluster), escaped(&aside.dataset), escaped(&aside.node));
            let labels = format!("cluster=\"{cluster}\",dataset=\"{dataset}\",epoch=\"{}\",node=\"{node}\"", aside.epoch);
            let _ = writeln!(text, "resilient_quarantined_snapshots{{{labels}}} {}", aside.only_here);
        }
    }
    arbiters(&mut text, host);
    crate::outside::metrics(&mut text, &host.addresses, &host.domains);
    head(&mut text, "incidents_open", "gauge", "Incidents that are open.");
    let _ = writeln!(text, "resilient_incidents_open {}", host.incidents.len());
    for (name, means) in [("alerts_waiting", "Alerts that wait for delivery."), ("alerts_lost_total", "Alerts that were given up.")] {
        head(&mut text, name, if name.ends_with("total") { "counter" } else { "gauge" }, means);
        for delivery in &host.deliveries {
            let count = if name == "alerts_waiting" { delivery.waiting as u64 } else { delivery.lost };
            let _ = writeln!(text, "resilient_{name}{{channel=\"{}\"}} {count}", escaped(&delivery.channel));
        }
    }
    head(&mut text, "ready", "gauge", "1 when all is ok on this host.");
    let _ = writeln!(text, "resilient_ready {}", u8::from(host.word == Word::Ok));
    text
}

/// What an arbiter knows of its clusters.
fn arbiters(text: &mut String, host: &Host) {
    let figures: [(&str, &str, &str, fn(&Arbiter) -> u64); 4] = [
        ("epoch", "gauge", "The current epoch of a cluster.", |arbiter| arbiter.epoch),
        ("lease_remaining_seconds", "gauge", "How long the active's lease may still live, by the arbiter.", |arbiter| {
            arbiter.lease_left_seconds
        }),
        ("blocked", "gauge", "1 while nobody is active and nobody takes over.", |arbiter| u64::from(arbiter.wrong().is_some())),
        ("takeovers_total", "counter", "Takeovers that nobody asked for.", |arbiter| arbiter.takeovers),
    ];
    for (name, kind, means, value) in figures.into_iter().filter(|_| !host.arbiters.is_empty()) {
        head(text, name, kind, means);
        for arbiter in &host.arbiters {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "resilient_{name}{{cluster=\"{}\"}} {}", escaped(&arbiter.cluster), value(arbiter));
        }
    }
}

pub(crate) fn head(text: &mut String, name: &str, kind: &str, means: &str) {
    let _ = write!(text, "# HELP resilient_{name} {means}\n# TYPE resilient_{name} {kind}\n");
}

pub(crate) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
