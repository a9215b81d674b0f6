//! Turning off a node by the administrator's program, before another is granted its role.
//!
//! Only its exit status 0 says that the node is off. It is run again and again while nobody is active and that node's reign is the last; a node that is heard again in between is
//! left alone, and turned off when its lease ends again.

use super::electing::Way;
use crate::arbiter::actor::Ask;
use election::{Epoch, NodeId};
use standing::log::{Log, Said};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// No run takes longer.
const RUN: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(10);

pub(super) async fn turn_off(way: Arc<Way>, hook: Vec<String>, log: Log, node: NodeId, epoch: Epoch) {
    let Some((program, arguments)) = hook.split_first() else { return };
    let cluster = &way.cluster;
    loop {
        let seen = way.arbiter.seen();
        let is_last = seen.shape.epoch == epoch.0 && seen.shape.holder.as_ref() == Some(&node.0);
        if !is_last || seen.ended || way.daemon.strong_count() == 0 {
            return;
        }
        if seen.shape.lease_left_seconds == 0 {
            let mut command = Command::new(program);
            command.args(arguments).env("RESILIENT_NODE", &node.0).env("RESILIENT_CLUSTER", cluster);
            command.env("RESILIENT_EPOCH", epoch.to_string()).stdin(Stdio::null()).kill_on_drop(true);
            let why = match timeout(RUN, command.output()).await {
                Ok(Ok(output)) if output.status.success() => {
                    log.say(Said::warn("election", format!("{cluster}: {node} was turned off by {program}")));
                    return way.arbiter.say(Ask::Off { node, epoch });
                }
                Ok(Ok(output)) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it did not end within {} s", RUN.as_secs()),
            };
            log.say(Said::error(
                "election",
                format!(
                    "{cluster}: {node} could not be turned off by {program}, so nobody takes over; tried again in {} s: {why}",
                    AGAIN.as_secs()
                ),
            ));
        }
        tokio::time::sleep(AGAIN).await;
    }
}
