//! What commands ask the daemon, and how its arbiters answer.

use super::Arbiter;
use super::shown::Planned;
use super::words::Refused;
use election::NodeId;
use election::arbiter::Order;
use link::control::Ended;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// As the socket of the daemon is called.
pub const DAEMON: &str = "pull-backup";

/// A question about a cluster; the only one where none is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    pub cluster: Option<String>,
    pub wish: Wish,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    Plan,
    Elect { to: Option<String>, accept_loss: bool },
    Pause { length: Duration },
    Resume,
    Acknowledge,
    Attest { off: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Planned(Planned),
    Elected(Elected),
    /// Of this cluster.
    Done(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elected {
    /// As it was before, but for the epoch, which is that of the node now.
    #[serde(flatten)]
    pub plan: Planned,
    pub node: String,
}

/// Nobody waits longer for an election: a node that catches up, and then activates, may take this long.
const ELECTED: Duration = Duration::from_secs(1800);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// Answers a command. `ages` says how old the newest data of a cluster is.
pub fn answer(
    arbiters: &BTreeMap<String, Arbiter>,
    question: Question,
    ages: &dyn Fn(&str) -> BTreeMap<String, u64>,
    clock: &dyn Fn() -> u64,
    say: &dyn Fn(String),
) -> Ended<Answer> {
    let (cluster, arbiter) = match choose(arbiters, question.cluster.as_deref()) {
        Ok(chosen) => chosen,
        Err(refused) => return is_refused(refused),
    };
    let plan = || Some(Planned { age_seconds: ages(cluster), ..arbiter.plan()? });
    let order = |order| match arbiter.order(order) {
        Ok(()) => Ended::Done(Answer::Done(cluster.to_owned())),
        Err(refused) => is_refused(refused),
    };
    match question.wish {
        Wish::Plan => plan().map_or_else(unknown, |plan| Ended::Done(Answer::Planned(plan))),
        Wish::Pause { length } => order(Order::Pause { length }),
        Wish::Resume => order(Order::Resume),
        Wish::Acknowledge => order(Order::Acknowledge),
        Wish::Attest { off } => order(Order::Attest { off: NodeId(off) }),
        Wish::Elect { to, accept_loss } => {
            let Some(plan) = plan() else { return unknown() };
            plan.lines().into_iter().for_each(say);
            let deadline = clock() + ELECTED.as_millis() as u64;
            elect(arbiter, to.map(NodeId), accept_loss, plan, &|| clock() > deadline, say)
        }
    }
}

fn choose<'a>(arbiters: &'a BTreeMap<String, Arbiter>, wanted: Option<&str>) -> Result<(&'a str, &'a Arbiter), Refused> {
    let mut of = arbiters.iter().filter(|(cluster, _)| wanted.is_none_or(|wanted| wanted == *cluster));
    let names = || arbiters.keys().cloned().collect::<Vec<_>>().join(", ");
    match (of.next(), of.next(), wanted) {
        (Some((cluster, arbiter)), None, _) => Ok((cluster, arbiter)),
        (Some(_), Some(_), _) => Err(refused(format!("there are several clusters: {}", names()), "say which")),
        (None, _, Some(wanted)) if !arbiters.is_empty() => {
            Err(refused(format!("there is no arbiter of cluster {wanted}"), &format!("there is one of {}", names())))
        }
        (None, ..) => Err(refused(
            "no cluster has an arbiter here".into(),
            "one begins when a node that takes part in takeover calls: `[takeover]` in its node file, and `importer serve` on it",
        )),
    }
}

fn refused(why: String, hint: &str) -> Refused {
    Refused { why, hint: hint.into() }
}

fn is_refused(refused: Refused) -> Ended<Answer> {
    Ended::Refused { why: refused.why, hint: Some(refused.hint) }
}

fn unknown() -> Ended<Answer> {
    Ended::Failed {
        why: "the arbiter cannot read or write what it knows, and decides nothing".into(),
        hint: Some("see the daemon's log; mend the disk of its state folder".into()),
    }
}

fn elect(
    arbiter: &Arbiter,
    node: Option<NodeId>,
    accept_loss: bool,
    plan: Planned,
    is_late: &dyn Fn() -> bool,
    say: &dyn Fn(String),
) -> Ended<Answer> {
    let before = arbiter.seen();
    if let Err(refused) = arbiter.order(Order::Elect { node, accept_loss }) {
        return is_refused(refused);
    }
    let mut phase = String::new();
    loop {
        let seen = arbiter.seen();
        if let (true, Some(node)) = (seen.shape.epoch > before.shape.epoch, &seen.active) {
            return Ended::Done(Answer::Elected(Elected { plan: Planned { epoch: seen.shape.epoch, ..plan }, node: node.clone() }));
        }
        if let (true, Some(refused)) = (seen.refused.0 > before.refused.0, &seen.refused.1) {
            return is_refused(refused.clone());
        }
        if seen.ended {
            return Ended::failed("the daemon ends; what was granted stays granted: see `pull-backup status` when it runs again");
        }
        if is_late() {
            return Ended::failed(format!("it is not over yet ({}); `pull-backup status` says how far it is", seen.shape.phase));
        }
        if seen.shape.phase != phase {
            phase.clone_from(&seen.shape.phase);
            say(match &seen.shape.holder {
                Some(holder) if phase == "granted" => format!("granted: {holder} activates, epoch {}", seen.shape.epoch),
                _ => phase.clone(),
            });
        }
        arbiter.wait(LOOK);
    }
}
