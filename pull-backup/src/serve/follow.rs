//! Following other pull-backups: all that they keep is kept here too, and goes on from here to whoever follows or stands by.

use super::{Daemon, Followed};
use crate::following::{self, Following, Leader};
use link::backoff::Backoff;
use link::client::{Client, Way};
use link::follow::Follow;
use link::identity::Pin;
use link::message::Head;
use link::pull::{Origin, Signers};
use standing::log::Said;
use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How often it is looked whom this one follows.
const LOOK: Duration = Duration::from_secs(1);

impl Daemon {
    pub(super) fn leaders(&self) -> MutexGuard<'_, HashMap<Pin, Followed>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows whom this one joined, until `stop` turns true.
    pub(super) async fn follow_others(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        loop {
            match Following::open(&self.file.state) {
                Ok(following) => self.look_for_others(&following, &mut tasks),
                Err(error) => self.around.log.say(Said::error("state", link::pull::chain(&error))),
            }
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.leaders().values().for_each(|followed| _ = followed.stop.send_replace(true));
        while tasks.join_next().await.is_some() {}
    }

    fn look_for_others(&self, following: &Following, tasks: &mut JoinSet<()>) {
        self.leaders().retain(|pin, followed| {
            let stays = following.leaders.iter().any(|leader| leader.pin == *pin);
            if !stays {
                followed.stop.send_replace(true);
            }
            stays
        });
        for leader in &following.leaders {
            if !self.leaders().contains_key(&leader.pin)
                && let Some(follow) = self.follow_other(leader)
            {
                tasks.spawn(follow);
            }
        }
    }

    fn follow_other(&self, leader: &Leader) -> Option<impl Future<Output = ()> + Send + use<>> {
        let tls = link::tls::client(&self.identity, leader.pin).ok()?;
        let way = Way::Dial { address: leader.address.clone(), tls };
        let client = Client::new(&leader.address, way, self.around.deadlines, self.rate.clone());
        let (poke, contact, (stop, stopped)) = (Arc::new(Notify::new()), Arc::default(), watch::channel(false));
        let (state, members, cluster_keys) = (self.file.state.clone(), self.members.clone(), self.cluster_keys.clone());
        let (log, address) = (self.around.log.clone(), leader.address.clone());
        let signers = Box::new(move |head: &Head| match following::note(&state, head) {
            Ok(new) => {
                for key in new {
                    log.say(
                        Said::warn("signer", format!("cluster {}: {key} signs for it, as {address} says", head.cluster)).peer(&address),
                    );
                }
                let own = members.trust_by(&head.cluster, cluster_keys.get(&head.cluster).copied());
                Signers::from(following::trust(own, &following::told_with(head)))
            }
            Err(error) => {
                log.say(Said::error("state", link::pull::chain(&error)));
                Signers::from(link::pull::nobody())
            }
        });
        let origin = Origin { client: Arc::new(client), pin: leader.pin, signers, allowance: None };
        let follow = Follow {
            origin: Arc::new(origin),
            pulls: self.pulls.clone(),
            wanted: Box::new(|_| true),
            every: self.around.every,
            backoff: Backoff::default(),
            poke: poke.clone(),
            contact: Arc::clone(&contact),
            clock: self.around.clock.clone(),
            chance: self.around.chance.clone(),
        };
        self.leaders()
            .insert(leader.pin, Followed { poke, contact, stop, by_lent: false, stands_by: false });
        Some(follow.run(stopped))
    }

    /// Keys of a cluster's nodes, as far as this pull-backup knows them, for those who follow it.
    pub(super) fn known_signers(&self, cluster: &str) -> Vec<String> {
        let own = self.members.trust(cluster);
        let told = following::told(&self.file.state, cluster).unwrap_or_default();
        let mut all: Vec<String> = own.pinned.iter().chain(&own.former).chain(&told).map(ToString::to_string).collect();
        all.sort();
        all.dedup();
        all
    }
}
