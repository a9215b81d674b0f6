//! Two reigns of one epoch: two persons swore, and each was wrong.
//!
//! Whose branch counts only a person can say. Until then one of the two serves, and the other stops and keeps what it wrote: by their names, and not by who was first,
//! since no two clocks tell that alike, and both must decide the same without asking each other. Each hears of the other by its renewals, which go to all fellows while no
//! arbiter answers.

use std::collections::BTreeSet;

use super::{Alert, Member, State};
use crate::{Epoch, NodeId};

/// What a member knows of others, and no lease rests on.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Who is in the cluster, as this host was told. One that never was active has no list that counts.
    pub fellows: BTreeSet<NodeId>,
    /// Who reigns in the same epoch, by its own word.
    pub rival: Option<NodeId>,
}

impl Member {
    /// Whoever may carry a renewal to the arbiter.
    pub(super) fn carriers(&self) -> BTreeSet<NodeId> {
        let mut carriers = self.others();
        if self.leases_itself() {
            carriers.extend(self.known.fellows.iter().filter(|node| **node != self.config.node).cloned());
        }
        carriers
    }

    /// A node says that it reigns in this epoch, and whether it serves, or would.
    pub(super) fn meet(&mut self, node: &NodeId, epoch: Epoch, serves: bool) {
        let twice = self.leases_itself() && self.record.own.as_ref().is_some_and(|own| own.epoch == epoch);
        if !twice || *node == self.config.node {
            return;
        }
        let reigns = matches!(self.state, State::Active | State::Failsafe | State::Activating(_));
        let waits = reigns && serves && *node < self.config.node;
        if self.known.rival.as_ref() != Some(node) || waits {
            self.known.rival = Some(node.clone());
            self.alert(Alert::Rival { epoch, node: node.clone(), waits: waits || !reigns });
        }
        if waits {
            self.fence();
        }
    }
}
