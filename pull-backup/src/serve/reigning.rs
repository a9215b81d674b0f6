//! Reigns while the daemon runs: who is told active follows the ledger, the archive follows it too, and nodes that stand by are asked for what they alone have.
//!
//! The ledger is one record that others may write beside this process. So it is looked at, not heard of: what it says is carried out until it is done, and once more
//! after each start.

use super::{Daemon, Followed};
use crate::members::Member;
use crate::quarantine::settle::{Settled, settle};
use archive::sync::SyncOptions;
use link::client::Client;
use link::identity::Pin;
use link::message::Head;
use link::pull::{Signers, believing, nobody};
use link::reigns::{Holder, Reigns};
use link::repositories::Dataset;
use standing::log::Said;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// After so many failures a node that stands by is asked at its other port.
const ELSEWHERE_AFTER: u32 = 5;
/// How often the ledgers are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What was seen and carried out.
#[derive(Default)]
struct Seen {
    members: Option<Arc<HashMap<Pin, Member>>>,
    done: BTreeMap<String, Reigns>,
}

impl Daemon {
    /// Whom to follow: who publishes, and those nodes with roles that stand by, each with whether it does.
    pub(super) fn wanted(&self) -> HashMap<Pin, (Member, bool)> {
        let mut wanted: HashMap<Pin, (Member, bool)> =
            self.members.standing_by().into_iter().map(|member| (member.pin, (member, true))).collect();
        wanted.extend(self.members.published().into_iter().map(|member| (member.pin, (member, false))));
        wanted
    }

    /// A node that stands by is asked where its importer serves its mirror, or its exporter its spool: they are one repository, and which of the two runs there nobody knows.
    pub(super) fn client_of(&self, member: &Member, stands_by: bool) -> Option<Client> {
        let ports = member.ports;
        let port = match stands_by {
            true if self.elsewhere().contains(&member.pin) => ports.exporter.or(ports.importer),
            true => ports.importer.or(ports.exporter),
            false => ports.exporter,
        };
        self.client(member, port?)
    }

    fn elsewhere(&self) -> MutexGuard<'_, HashSet<Pin>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose signatures count of what a member offers.
    pub(super) fn signers_of(&self, member: &Member, stands_by: bool) -> Box<dyn Fn(&Head) -> Signers + Send + Sync> {
        let (members, pin, of) = (self.members.clone(), member.pin, member.cluster.clone());
        let cluster_key = self.cluster_keys.get(&of).copied();
        // Without a reign, what it publishes it must have signed itself: the key of a node that stands by publishes nothing, wherever it comes from.
        Box::new(move |_: &Head| match members.now().get(&pin).and_then(Member::key) {
            Some(own) => {
                let publishers = Some(if stands_by { vec![] } else { vec![own] });
                Signers { trust: believing(members.trust_by(&of, cluster_key)), publishers, snapshots_only: stands_by }
            }
            None => nobody().into(),
        })
    }

    /// Takes note that a member came as the active one. The caller has the turn.
    pub(super) fn crown(&self, member: &Member) -> link::Result<Option<Reigns>> {
        let Some(key) = member.key() else { return Ok(None) };
        match member.active {
            Some(true) => {
                let holder = Holder::new(&member.name, key);
                self.publish.ledger.first(&member.cluster, holder, (self.around.clock)())
            }
            _ => self.publish.ledger.open(&member.cluster),
        }
    }

    /// Carries out what the ledgers say, until `stop` turns true.
    pub(super) async fn reign(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut seen = Seen::default();
        loop {
            let daemon = self.clone();
            let work = tokio::task::spawn_blocking(move || {
                daemon.carry_out(&mut seen);
                seen
            });
            seen = match work.await {
                Ok(seen) => seen,
                Err(error) => {
                    self.around.log.say(Said::error("state", error));
                    Seen::default()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.settling.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Looks at every cluster; where neither its reigns nor the members changed, that is all.
    fn carry_out(&self, seen: &mut Seen) {
        let members = self.members.now();
        let same = seen.members.as_ref().is_some_and(|before| Arc::ptr_eq(before, &members));
        let mut clusters: BTreeSet<String> = self.publish.ledger.clusters().into_iter().collect();
        clusters.extend(members.values().filter(|member| !member.is_follower()).map(|member| member.cluster.clone()));
        for cluster in clusters {
            let outcome = self.publish.ledger.open(&cluster).and_then(|reigns| {
                let known = seen.done.get(&cluster);
                // What an epoch began with changes nothing of what was before.
                let is_done = known
                    .zip(reigns.as_ref())
                    .is_some_and(|(known, reigns)| Reigns { begun: reigns.begun.clone(), ..known.clone() } == *reigns);
                if same && (is_done || reigns.is_none()) {
                    Ok(None)
                } else {
                    self.agree(&cluster, &members).map(|now| now.filter(|_| !is_done))
                }
            });
            match outcome {
                Ok(None) => {}
                Ok(Some(reigns)) => {
                    let of = self.publish_layout().into_iter().filter(|dataset| dataset.cluster == cluster);
                    // Each is tried, also when one before it is not whole.
                    if of.filter(|dataset| !self.settle_one(dataset)).count() == 0 {
                        seen.done.insert(cluster, reigns);
                    }
                }
                Err(error) => self.around.log.say(Said::error("state", link::pull::chain(&error))),
            }
        }
        seen.members = Some(members);
    }

    fn publish_layout(&self) -> Vec<Dataset> {
        let mut all = self.pulls.repositories.layout().datasets();
        all.extend(self.publish.quarantine.all().iter().map(crate::quarantine::Name::dataset));
        all.sort();
        all.dedup();
        all
    }

    /// Members are told active or not as the ledger says; where there is none, the active one's reign is the first.
    fn agree(&self, cluster: &str, members: &HashMap<Pin, Member>) -> link::Result<Option<Reigns>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self.publish.ledger.open(cluster)? {
            Some(reigns) => self.members.agree(cluster, &reigns.holder.node).map(|()| Some(reigns)),
            None => {
                let is_active = |member: &&Member| member.cluster == cluster && member.active == Some(true);
                members.values().find(is_active).map_or(Ok(None), |active| self.crown(active))
            }
        }
    }

    /// Whether it came to its end.
    fn settle_one(&self, dataset: &Dataset) -> bool {
        let trust = self.evidence(&dataset.cluster);
        let options = SyncOptions::new(trust, self.pulls.receipt_signer(), self.around.clock.clone());
        match settle(&self.publish, &self.pulls.repositories, dataset, &options) {
            Ok(settled) => {
                self.tell_settled(dataset, &settled);
                settled.troubles.is_empty()
            }
            // Somebody is at work in it, or it cannot be read now.
            Err(error) => {
                self.around.log.say(Said::warn("reign", link::pull::chain(&error)).dataset(dataset));
                false
            }
        }
    }

    fn tell_settled(&self, dataset: &Dataset, settled: &Settled) {
        let say = |what: String| self.around.log.say(Said::warn("reign", what).dataset(dataset));
        if !settled.withdrawn.is_empty() {
            say(format!("{} snapshots above the sealed head went to quarantine", settled.withdrawn.len()));
        }
        if !settled.published.is_empty() {
            say(format!("{} snapshots were published from quarantine", settled.published.len()));
        }
        settled.troubles.iter().for_each(|why| say(why.clone()));
    }

    /// What followers are told of the reigns, and how a head looks that says so.
    pub(super) fn tell_reigns(&self, head: &mut Head, known: &mut HashMap<String, Option<Reigns>>) {
        let open = || self.publish.ledger.open(&head.cluster).ok().flatten();
        head.reigns = known.entry(head.cluster.clone()).or_insert_with(open).clone();
        if let Some(reigns) = &head.reigns {
            // It has something new for them although nothing came.
            head.change = format!("{}.{}.{}.{}", head.change, reigns.epoch, reigns.sealed.len(), reigns.claims.len());
        }
    }

    /// Whether what is followed is still followed as it should be.
    pub(super) fn stays(&self, followed: &Followed, (member, stands_by): &(Member, bool)) -> bool {
        if followed.by_lent != self.lends(member) || followed.stands_by != *stands_by {
            return false;
        }
        let failures = followed.contact.lock().unwrap_or_else(PoisonError::into_inner).failures;
        if *stands_by && !followed.by_lent && failures >= ELSEWHERE_AFTER && member.ports.importer.is_some() {
            let mut elsewhere = self.elsewhere();
            if !elsewhere.remove(&member.pin) {
                elsewhere.insert(member.pin);
            }
            return false;
        }
        true
    }
}
