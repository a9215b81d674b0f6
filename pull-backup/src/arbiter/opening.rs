//! What an arbiter begins from: its record as it is on disk, or as it must have been.
//!
//! A record that is lost, damaged or brought back from a copy is not believed: then all members are asked before anything is granted. Nothing that was there is thrown away.

use super::actor::Given;
use super::policy::timers;
use super::record::adopt;
use crate::reigns::Held;
use election::{ClusterId, NodeId, Record};
use link::error::{Error, Result};
use link::pull::chain;
use standing::log::Said;

/// The record as it is on disk, or as it must have been.
pub fn record(given: &Given, held: &Held) -> Result<Record> {
    let Given { cluster, ledger, members, log, .. } = given;
    let now_ms = (given.wall)();
    let all = members.all()?;
    let of = || all.iter().filter(|member| member.cluster == *cluster);
    let enrolled: Vec<NodeId> = of()
        .filter(|member| member.expelled_ms.is_none())
        .map(|member| member.name.as_str().into())
        .collect();
    let lost = |why: &str| {
        log.say(Said::error(
            "election",
            format!("{cluster}: the arbiter's record is lost: {why}; nothing is granted before all members were heard"),
        ));
        Record::lost(ClusterId(cluster.clone()), &enrolled)
    };
    let document = match ledger.document(cluster) {
        Err(error @ Error::Damaged { .. }) => {
            let kept = ledger.put_aside(cluster, held, now_ms)?;
            return Ok(lost(&format!("{}; it is kept as {}", chain(&error), kept.display())));
        }
        document => document?,
    };
    if let Some(mut record) = document.arbiter {
        if document.place != Some(held.place()?) && !record.recovering {
            log.say(Said::error(
                "election",
                format!("{cluster}: the state folder was brought back from a copy, so it may be old: nothing is granted before all members were heard"),
            ));
            record.recovering = true;
        }
        return Ok(record);
    }
    if let Some(reigns) = document.reigns {
        if reigns.told {
            let why = "this pull-backup follows another one, which is the arbiter".to_owned();
            return Err(Error::Failed { peer: format!("electing in {cluster}"), why });
        }
        return Ok(adopt(cluster, &reigns, &enrolled, timers(given.configured.as_ref())));
    }
    let reigned = of().any(|member| member.active == Some(true) || member.was_active);
    let published = ledger.heads(cluster)?.values().any(|at| at.epoch > 0);
    Ok(match held.counts()?.written || reigned || published {
        true => lost("there is none, and somebody reigned"),
        false => Record::new(ClusterId(cluster.clone())),
    })
}
