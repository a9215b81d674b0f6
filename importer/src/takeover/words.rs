//! The protocol's words as a person reads them, with what to do.

use election::member::Alert;
use election::message::{Refusal, Standing};

pub fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Passive => "stands by, and is not ready: its data is not imported and verified",
        Standing::Syncing => "stands by, and is importing",
        Standing::Ready => "stands by, ready",
        Standing::Claiming => "was offered the role, and claims it",
        Standing::Activating => "becomes active: imports what is newer, and starts services behind the closed gate",
        Standing::Active => "is active",
        Standing::Failsafe => "is active, and hears nothing of the arbiter: it goes on while every member gives its word",
        Standing::SteppingDown => "steps down in order",
        Standing::Fencing => "fences itself: its lease ends",
        Standing::Fenced => "fenced itself: nothing runs here, and it goes on if nobody else does",
        Standing::Closed => "is closed: it takes part in nothing until `importer failback`",
    }
}

pub fn alert(alert: &Alert) -> String {
    match alert {
        Alert::Failsafe { epoch } => {
            format!("the arbiter is not heard; epoch {epoch} goes on here while every member gives its word. Is `pull-backup serve` running?")
        }
        Alert::Fencing { epoch } => format!("the lease of epoch {epoch} ends: the gate is closed and services are stopped"),
        Alert::Superseded { epoch, by } => {
            format!("epoch {epoch} is over, {by} began elsewhere; what this node wrote and nobody has yet is captured, and kept in quarantine")
        }
        Alert::Active { epoch } => format!("this node is active in epoch {epoch}, and its gate is open"),
        Alert::Alone => "neither the arbiter nor the active node is heard: nobody takes over by itself now; a person can, with `importer activate --force`".into(),
        Alert::Rival { epoch, node, waits: false } => format!(
            "{node} was forced into epoch {epoch}, too, and waits; this node goes on until `pull-backup epoch resolve` says whose branch counts"
        ),
        Alert::Rival { epoch, node, waits: true } => format!(
            "{node} was forced into epoch {epoch}, too: that one goes on, and this node stops and keeps what it wrote, until `pull-backup epoch resolve` says whose branch counts; if {node} is off by then: `importer activate --force --old-active-off {node}`"
        ),
        Alert::ExchangeFailed { to, why: None } => format!("{to} did not take over in time; this node goes on"),
        Alert::ExchangeFailed { to, why: Some(why) } => format!("{to} did not take over; this node goes on: {}", refusal(why).0),
    }
}

/// Why, and what to do.
pub fn refusal(refusal: &Refusal) -> (String, String) {
    let (why, hint) = match refusal {
        Refusal::Leased { holder: Some(holder) } => (
            format!("{holder} holds the role, or its lease may still live"),
            format!(
                "if {holder} works, `importer switchover` there hands the role over; if it is dead, wait until its lease is over, or say so where the arbiter runs: `pull-backup attest --off {holder}`"
            ),
        ),
        Refusal::Leased { holder: None } => {
            ("a lease may still live: the arbiter began a short while ago".to_owned(), "try again in a minute".to_owned())
        }
        Refusal::Paused => ("a pause runs: nobody takes over".into(), "`pull-backup resume` ends it".into()),
        Refusal::Recovering => (
            "the arbiter lost its memory, and grants nothing before it heard every member".into(),
            "start `importer serve` on all members, or vouch for the dead ones with `pull-backup attest --off NODE`".into(),
        ),
        Refusal::Conflict => {
            ("two nodes reign in one epoch".into(), "say whose branch counts, where the arbiter runs: `pull-backup epoch resolve`".into())
        }
        Refusal::Unknown { node } => (format!("{node} is no member of this cluster"), "`pull-backup status` lists members".into()),
        Refusal::Nothing => ("there is nothing of that kind to do".into(), "`importer status` says how this node stands".into()),
        Refusal::Busy => ("another election is under way".into(), "wait until it ended".into()),
        Refusal::ExpelsActive => ("that node is the active one".into(), "hand the role over first, or use --force, which fences it".into()),
        Refusal::NoBranch { node } => {
            (format!("{node} took no epoch that is in conflict"), "`pull-backup epoch show` lists the branches".into())
        }
        Refusal::Blocked { lost } => {
            let list: Vec<String> = lost.iter().map(ToString::to_string).collect();
            let what = if list.is_empty() {
                "nobody that is eligible answered".to_owned()
            } else {
                format!("these snapshots would be left behind: {}", list.join(", "))
            };
            (
                format!("nobody can take over: {what}"),
                "`pull-backup takeover plan` says why each node is not eligible; --accept-data-loss goes on without those snapshots".into(),
            )
        }
        Refusal::Standing { standing: now } => (format!("this node {}", standing(*now)), "`importer status` says more".into()),
    };
    (why, hint)
}
