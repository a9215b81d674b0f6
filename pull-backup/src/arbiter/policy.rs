//! What the configuration says of a cluster, in the arbiter's words.

use console::pull_backup_file::{Cluster, Profile};
use election::timers::Values;
use election::{Dataset, NodeId, Policy, Timers};
use std::time::Duration;

pub fn timers(cluster: Option<&Cluster>) -> Timers {
    match cluster.map(|cluster| cluster.profile) {
        Some(Profile::Fast) => {
            Timers::new(Values::FAST, Duration::ZERO).expect("the fast profile keeps two nodes apart, as its tests show")
        }
        _ => super::record::default_timers(),
    }
}

/// Datasets are compared in the order of their names: the nodes' files, which have an order of their own, are not known here.
pub fn policy(cluster: Option<&Cluster>, mut datasets: Vec<Dataset>) -> Policy {
    datasets.sort();
    let mut policy = Policy::new(timers(cluster), datasets);
    let Some(cluster) = cluster else { return policy };
    policy.automatic = cluster.automatic;
    policy.delay = cluster.delay.unwrap_or_default();
    policy.lag_max = cluster.max_lag.unwrap_or_default();
    if let Some(age) = cluster.max_age {
        policy.age_max = policy.datasets.iter().map(|dataset| (dataset.clone(), age)).collect();
    }
    let priority = |(node, priority): (&String, &i64)| (NodeId(node.clone()), *priority);
    policy.priorities = cluster.priority.iter().map(priority).collect();
    policy.excluded = cluster.exclude.iter().map(|node| NodeId(node.clone())).collect();
    policy.stonith = !cluster.stonith.is_empty();
    policy.beside = cluster.beside.as_deref().map(NodeId::from);
    policy.two_hosts_fence = cluster.two_hosts_fence;
    policy
}
