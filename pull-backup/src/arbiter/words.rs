//! What the arbiter decides and refuses, in words for a person who is woken at three in the morning: what is so, why, and what can be done.

use console::human;
use election::arbiter::{Alert, Blocked, Ineligible, Phase, Why};
use election::message::{Refusal, Standing};
use election::{Lost, NodeId, Time};

/// What is refused, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: String,
    pub hint: String,
}

pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Vacant => "vacant",
        Phase::Leased => "leased",
        Phase::Expired => "expired",
        Phase::Poll => "poll",
        Phase::CatchUp => "catch-up",
        Phase::Offer => "offer",
        Phase::Granted => "granted",
        Phase::Blocked => "blocked",
        Phase::Recovery => "recovery",
        Phase::Conflict => "conflict",
    }
}

fn list<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

fn left(until: Time, now: Time) -> String {
    human::duration(until.since(now))
}

/// Why nobody takes over by himself. `cluster` is for what can be done.
pub fn why(why: &Why, cluster: &str, now: Time) -> String {
    match why {
        Why::SwitchOff => format!(
            "takeover by itself is off; `automatic = true` in [cluster.{cluster}] here and in [takeover] of the nodes switches it on; now: `pull-backup elect {cluster}`"
        ),
        Why::Paused { until } => {
            format!("it is paused, and nothing is granted for {}; `pull-backup resume {cluster}` asks the active to end that", left(*until, now))
        }
        Why::Unacknowledged { until } => format!(
            "somebody took over by himself a short while ago, and nobody has seen it: `pull-backup ack {cluster}`; else it goes on in {}",
            left(*until, now)
        ),
        Why::TooMany { within_window } => {
            format!("{within_window} nodes took over by themselves within a day: something is wrong that another takeover does not mend; see to it, then `pull-backup elect {cluster}`")
        }
        Why::Given { node } => format!(
            "{node} was given the role by a person, and has no lease that could be over: `importer activate --adopt` there begins one; if it is off, `pull-backup elect {cluster}`"
        ),
        Why::Unguarded => format!(
            "the last active said that nothing closes its ports when its lease ends, so it may serve still: see that it is off, then `pull-backup attest {cluster} --off NODE` and `pull-backup elect {cluster}`"
        ),
        Why::TwoHosts => "of two hosts one carries this pull-backup as well: when they do not hear each other, nobody can tell which is cut off. See that the other is off, then \
             `pull-backup elect`; `two_hosts = \"fence\"` trusts the active's own fencing"
            .into(),
        Why::TooOld { dataset, age } => {
            format!("the newest of {dataset} is {} old, more than `max_age` allows: `pull-backup elect {cluster}` goes on with it", human::duration(*age))
        }
        Why::NobodyEligible => "nobody who answers can take over".into(),
    }
}

pub fn ineligible(reason: &Ineligible, now: Time) -> String {
    match reason {
        Ineligible::NoAnswer => "does not answer".into(),
        Ineligible::Busy(standing) => format!("is {}", self::standing(*standing)),
        Ineligible::Held => "gave its word to the active to take nothing for a while".into(),
        Ineligible::Unverified => "what it imported is not verified".into(),
        Ineligible::Diverged(dataset) => format!("its {dataset} is not part of the history here"),
        Ineligible::Excluded => "is excluded by the configuration".into(),
        Ineligible::Cooldown { until } => format!("failed a short while ago, and is left alone for {}", left(*until, now)),
        Ineligible::Refused => "its own check says that it cannot serve".into(),
        Ineligible::Blind => "cannot open what it mirrors: it has no identity".into(),
        Ineligible::Undrilled => "has no good drill that is new enough for its `drill_within`; `importer drill` there makes one".into(),
        Ineligible::SwitchOff => "`automatic` is off in its node file".into(),
        Ineligible::Unacknowledged => "joined after the active last heard who the members are".into(),
        Ineligible::Tried => "was offered the role and did not take it".into(),
        Ineligible::Behind { snapshots } => format!("is {snapshots} snapshots behind"),
    }
}

pub fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Passive => "passive",
        Standing::Syncing => "syncing",
        Standing::Ready => "ready",
        Standing::Claiming => "claiming the role",
        Standing::Activating => "activating",
        Standing::Active => "active",
        Standing::Failsafe => "active in failsafe",
        Standing::SteppingDown => "stepping down",
        Standing::Fencing => "being fenced",
        Standing::Fenced => "fenced",
        Standing::Closed => "closed",
    }
}

pub fn lost(lost: &Lost) -> String {
    let id: String = lost.point.id.0.chars().take(8).collect();
    format!("{} {}.{} {id}", lost.dataset, lost.point.epoch, lost.point.sequence)
}

/// In the shape that `status` shows.
pub fn blocked(blocked: &Blocked, cluster: &str, now: Time) -> standing::arbiter::Blocked {
    let member = |(node, reason): (&NodeId, &Ineligible)| (node.0.clone(), ineligible(reason, now));
    standing::arbiter::Blocked {
        why: why(&blocked.why, cluster, now),
        lost: blocked.lost.iter().map(lost).collect(),
        members: blocked.members.iter().map(member).collect(),
    }
}

pub fn alert(alert: &Alert, cluster: &str, now: Time) -> String {
    match alert {
        Alert::Expired { reign } => {
            format!("{cluster}: the lease of {} is over: it was not heard in time, and epoch {} has no active now", reign.node, reign.epoch)
        }
        Alert::Granted { reign } => format!("{cluster}: {} is granted epoch {}, and begins", reign.node, reign.epoch),
        Alert::TookOver { reign } => format!("{cluster}: {} is active in epoch {}", reign.node, reign.epoch),
        Alert::Void { reign } => {
            format!("{cluster}: {} did not become active: epoch {} came to nothing, and the next is tried", reign.node, reign.epoch)
        }
        Alert::Blocked(found) => {
            let shape = blocked(found, cluster, now);
            let members = shape.members.iter().map(|(node, why)| format!("{node} {why}"));
            let mut text = format!("{cluster}: BLOCKED: nobody is active, and nobody takes over: {}", shape.why);
            if !shape.members.is_empty() {
                text.push_str(&format!("; {}", list(members)));
            }
            if !shape.lost.is_empty() {
                let many = shape.lost.len();
                text.push_str(&format!(
                    "; going on regardless (`pull-backup elect {cluster} --accept-data-loss`) would leave behind {many} snapshots: {}",
                    list(shape.lost)
                ));
            }
            text
        }
        Alert::NotHandedOver { to, blocked: found } => {
            let shape = blocked(found, cluster, now);
            let members = shape.members.iter().map(|(node, why)| format!("{node} {why}"));
            format!(
                "{cluster}: {to} is not handed the role, and the active goes on: {}",
                list(members.chain(shape.lost.into_iter().map(|lost| format!("{lost} is lacking"))))
            )
        }
        Alert::Recovery { missing } => format!(
            "{cluster}: this arbiter does not know all that was granted, and grants nothing until it heard {}; when one of them is off for good: `pull-backup attest {cluster} --off NODE`",
            list(missing)
        ),
        Alert::Recovered { reign: Some(reign), granted } => {
            format!("{cluster}: all members were heard: epoch {} is {}'s; the next one is above {granted}", reign.epoch, reign.node)
        }
        Alert::Recovered { reign: None, granted } => {
            format!("{cluster}: all members were heard, and none is active; the next epoch is above {granted}")
        }
        Alert::Conflict { branches } => format!(
            "{cluster}: CONFLICT: {} say that the epoch is theirs; both branches are kept, nothing is published: `pull-backup epoch resolve {cluster} --keep NODE`",
            list(branches.iter().map(|reign| &reign.node))
        ),
        Alert::FinalExportMissing { reign, position } => format!(
            "{cluster}: {} stepped down, and its last export did not arrive ({}): what it holds beyond the head is in its spool, and goes to quarantine when it comes",
            reign.node,
            list(position.0.iter().map(|(dataset, point)| format!("{dataset} {}.{}", point.epoch, point.sequence)))
        ),
    }
}

pub fn refused(refusal: &Refusal, cluster: &str) -> Refused {
    let (why, hint) = match refusal {
        Refusal::Leased { holder: Some(holder) } => (
            format!("the lease of {holder} lives, or may live"),
            format!(
                "a planned exchange is `importer switchover` on {holder}; when it is off for certain: `pull-backup attest {cluster} --off {holder}`"
            ),
        ),
        Refusal::Leased { holder: None } => (
            "a lease may live that is not known here".into(),
            format!("`pull-backup status` says for how long; when the node is off for certain: `pull-backup attest {cluster} --off NODE`"),
        ),
        Refusal::Paused => ("there is a pause already".into(), format!("`pull-backup resume {cluster}` ends it")),
        Refusal::Recovering => (
            "this arbiter does not know all that was granted, and asks all members".into(),
            format!("`pull-backup status` names those that are missing; for one that is off: `pull-backup attest {cluster} --off NODE`"),
        ),
        Refusal::Conflict => (
            "several nodes say that the epoch is theirs".into(),
            format!("`pull-backup epoch resolve {cluster} --keep NODE` says which counts"),
        ),
        Refusal::Unknown { node } => (format!("{node} is no member"), "`pull-backup status` lists the members".into()),
        Refusal::Nothing => ("there is nothing of that kind to do now".into(), "`pull-backup status` says how the cluster stands".into()),
        Refusal::Busy => ("an election is under way".into(), "see `pull-backup status`, and try again in a few seconds".into()),
        Refusal::ExpelsActive => (
            "this node is active".into(),
            "hand its role over first: `importer switchover` on it; or `--force`, which fences it when its lease ends".into(),
        ),
        Refusal::NoBranch { node } => {
            (format!("{node} has no branch in the conflict"), "`pull-backup epoch show` lists the branches".into())
        }
        Refusal::Blocked { lost } if lost.is_empty() => {
            ("nobody can take over".into(), format!("`pull-backup takeover plan {cluster}` says why of each"))
        }
        Refusal::Blocked { lost: behind } => (
            format!("nobody can take over without leaving behind {} snapshots: {}", behind.len(), list(behind.iter().map(lost))),
            format!("let a node catch up, or leave them behind: `pull-backup elect {cluster} --accept-data-loss`; they stay in quarantine"),
        ),
        Refusal::Standing { standing: now } => (format!("the node is {}", standing(*now)), "`importer status` there says more".into()),
    };
    Refused { why, hint }
}
