//! What the arbiter may do: its own configuration, not part of the record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Dataset, NodeId, Timers};

/// The arbiter's configuration of one cluster.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The pull-backup's switch. Alone it never acts: the cluster's own stands in the nodes' file, and comes with each answer.
    pub automatic: bool,
    /// Of the next grant; the current reign keeps its own.
    pub timers: Timers,
    /// Waited after a lease ended, before acting by itself.
    pub delay: Duration,
    /// In the order of the configuration: the first that differs decides.
    pub datasets: Vec<Dataset>,
    /// Older data is never taken over with by itself (`max_loss`).
    pub age_max: BTreeMap<Dataset, Duration>,
    /// How far behind the head a candidate may be that cannot catch up.
    pub lag_max: Duration,
    pub catch_up_max: Duration,
    /// How long a seal waits for the last export of a node that stepped down.
    pub final_export_max: Duration,
    /// How long a granted node may take until it is ACTIVE.
    pub activation_max: Duration,
    /// A candidate that failed is left alone this long.
    pub cooldown: Duration,
    pub priorities: BTreeMap<NodeId, i64>,
    pub excluded: BTreeSet<NodeId>,
    /// A hook that turns hosts off exists, and must confirm before another is granted the role.
    pub stonith: bool,
    /// The node on whose host this arbiter runs.
    pub beside: Option<NodeId>,
    /// `two_hosts = "fence"`: a cluster of two may go on although one host carries arbiter and standby.
    pub two_hosts_fence: bool,
    /// No takeover by itself for this long after one, until a person acknowledged it.
    pub block: Duration,
    pub takeovers_max: usize,
    pub takeovers_window: Duration,
}

impl Policy {
    /// Both switches' defaults: nothing by itself.
    pub fn new(timers: Timers, datasets: Vec<Dataset>) -> Policy {
        const HOUR: Duration = Duration::from_secs(3600);
        Policy {
            automatic: false,
            timers,
            delay: Duration::ZERO,
            datasets,
            age_max: BTreeMap::new(),
            lag_max: Duration::ZERO,
            catch_up_max: Duration::from_secs(300),
            final_export_max: Duration::from_secs(300),
            activation_max: Duration::from_secs(600),
            cooldown: Duration::from_secs(600),
            priorities: BTreeMap::new(),
            excluded: BTreeSet::new(),
            stonith: false,
            beside: None,
            two_hosts_fence: false,
            block: HOUR,
            takeovers_max: 2,
            takeovers_window: HOUR * 24,
        }
    }
}
