//! The arbiters of this daemon, and what they need of the network: whom they hear, how their words reach members, and what they have done.
//!
//! An arbiter begins when an enrolled node says something about who is active, or where a record is. One that follows another pull-backup has none. What a member says is
//! believed to be that member's alone, by the key of the connection; who cannot be dialled finds what is for it in the answer to its next question.

use super::Daemon;
use crate::arbiter::Arbiter;
use crate::arbiter::actor::{Ask, Given, Outside};
use crate::arbiter::asked::{self, Answer, DAEMON, Question};
use crate::members::Member;
use election::{Envelope, Epoch, NodeId, Peer};
use link::client::Client;
use link::control::{self, Ended};
use link::identity::Pin;
use link::post::{Fellow, Fellows, Post, Said, Ways, genuine};
use link::relayed;
use link::role::{Caller, Role};
use link::routes::Refusal;
use standing::log::Said as Told;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Of a member that cannot be dialled so many envelopes wait; older ones are lost, as on a wire.
const WAITING_MAX: usize = 16;
/// What members hold is pulled for no longer before an arbiter goes on.
const GATHER: Duration = Duration::from_secs(30);
const GATHER_LOOK: Duration = Duration::from_millis(100);

/// The arbiters, and what waits for members that call by themselves.
#[derive(Default)]
pub struct Arbiters {
    running: Mutex<BTreeMap<String, (Arbiter, JoinHandle<()>)>>,
    /// None begins any more.
    ended: AtomicBool,
    outbox: Mutex<HashMap<(String, NodeId), VecDeque<Envelope>>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arbiters {
    /// Those that run.
    pub fn all(&self) -> BTreeMap<String, Arbiter> {
        lock(&self.running)
            .iter()
            .map(|(cluster, (arbiter, _))| (cluster.clone(), arbiter.clone()))
            .collect()
    }

    fn stop(&self) {
        let running = {
            let mut running = lock(&self.running);
            self.ended.store(true, Ordering::SeqCst);
            std::mem::take(&mut *running)
        };
        running.values().for_each(|(arbiter, _)| arbiter.say(Ask::Stop));
        for (_, thread) in running.into_values() {
            // One that panicked ended too.
            let _ = thread.join();
        }
    }

    fn put(&self, cluster: &str, to: NodeId, envelope: Envelope) {
        let mut outbox = lock(&self.outbox);
        let waiting = outbox.entry((cluster.into(), to)).or_default();
        if waiting.len() == WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back(envelope);
    }

    fn take(&self, cluster: &str, of: &NodeId) -> VecDeque<Envelope> {
        lock(&self.outbox).remove(&(cluster.into(), of.clone())).unwrap_or_default()
    }
}

impl Daemon {
    /// The arbiter of a cluster; it begins with the first question.
    fn arbiter(self: &Arc<Self>, cluster: &str, runtime: &Handle) -> link::Result<Arbiter> {
        let mut running = lock(&self.arbiters.running);
        if let Some((arbiter, _)) = running.get(cluster) {
            return Ok(arbiter.clone());
        }
        let failed = |source| link::Error::File { operation: "begin a thread for", path: cluster.into(), source };
        if self.arbiters.ended.load(Ordering::SeqCst) {
            return Err(failed(std::io::Error::other("this daemon ends")));
        }
        let boot = link::boot::id()?;
        let clock: Arc<dyn Fn() -> election::Time + Send + Sync> = Arc::new(link::boot::now);
        let configured = self.file.clusters.get(cluster).cloned();
        let limit = crate::arbiter::policy::timers(configured.as_ref()).request();
        let make = |arbiter: &Arbiter, shown| {
            let way = Way {
                daemon: Arc::downgrade(self),
                cluster: cluster.into(),
                arbiter: arbiter.clone(),
                limit,
                clients: Mutex::default(),
            };
            let way = Arc::new(way);
            let outside = Beyond { post: Post::new(way.clone(), runtime.clone()), way, runtime: runtime.clone() };
            Given {
                cluster: cluster.into(),
                configured,
                ledger: self.publish.ledger.clone(),
                members: self.members.clone(),
                log: self.around.log.clone(),
                wall: self.around.clock.clone(),
                clock: clock.clone(),
                boot,
                outside: Arc::new(outside),
                shown,
            }
        };
        let (arbiter, thread) = Arbiter::begin(make, clock.clone()).map_err(failed)?;
        running.insert(cluster.into(), (arbiter.clone(), thread));
        Ok(arbiter)
    }

    /// Runs the arbiters whose records are here, and answers commands, until `stop` turns true.
    pub(super) async fn arbitrate(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let runtime = Handle::current();
        for cluster in self.publish.ledger.clusters() {
            let begun = match self.publish.ledger.has_record(&cluster) {
                Ok(true) => self.arbiter(&cluster, &runtime).map(drop),
                other => other.map(drop),
            };
            if let Err(error) = begun {
                self.around.log.say(Told::error("election", link::pull::chain(&error)));
            }
        }
        let daemon = self.clone();
        let answer = Arc::new(move |question: Question, say: &dyn Fn(String)| -> Ended<Answer> {
            let ages = |cluster: &str| daemon.ages(cluster);
            asked::answer(&daemon.arbiters.all(), question, &ages, &*daemon.around.clock, say)
        });
        if let Err(error) = control::serve(&self.file.state, DAEMON, answer, stop.clone()).await {
            self.around
                .log
                .say(Told::error("state", format!("commands cannot ask this daemon: {}", link::pull::chain(&error))));
            let _ = stop.wait_for(|stop| *stop).await;
        }
        let daemon = self.clone();
        // One that panicked ended too.
        let _ = tokio::task::spawn_blocking(move || daemon.arbiters.stop()).await;
    }

    /// How old the newest data of each dataset is, in seconds.
    fn ages(&self, cluster: &str) -> BTreeMap<String, u64> {
        let now_ms = (self.around.clock)();
        let age = |dataset: link::repositories::Dataset| {
            let (repository, known) = self.publish.ledger.repository(&dataset).ok()?;
            let captured = repository.snapshot(known.last()?).ok()?.body.captured_ms;
            Some((dataset.name, now_ms.saturating_sub(captured) / 1000))
        };
        self.publish.ledger.datasets(cluster).into_iter().filter_map(age).collect()
    }

    /// Hears what a node says about who is active.
    pub(super) fn elect(self: &Arc<Self>, caller: &Caller, said: Said) -> Result<Said, Refusal> {
        let Role::Node { cluster, name } = &caller.role else { return Err(Refusal::not_yours("only a node of a cluster takes part")) };
        let failed = |error: link::Error| Refusal::failed(link::pull::chain(&error));
        if self.publish.ledger.open(cluster).ok().flatten().is_some_and(|reigns| reigns.told) {
            return Err(Refusal::not_yours("this pull-backup follows another one, which is the arbiter"));
        }
        let node = NodeId(name.clone());
        let arbiter = self.arbiter(cluster, &Handle::current()).map_err(failed)?;
        let heard = genuine(said.envelopes, cluster, &Peer::Node(node.clone()));
        let mut envelopes = arbiter.hear(node.clone(), self.proven(cluster, heard));
        envelopes.extend(self.arbiters.take(cluster, &node));
        relayed::sign(&mut envelopes, &Peer::Arbiter, &self.identity);
        let fellows = self.fellows(cluster);
        let fellows = (said.knows.as_ref() != Some(&fellows.mark())).then_some(fellows);
        Ok(Said { envelopes, fellows, ..Said::default() })
    }

    /// Of what members carried here for others, what is of whom it says.
    fn proven(&self, cluster: &str, envelopes: Vec<Envelope>) -> Vec<Envelope> {
        relayed::proven(envelopes, &Peer::Arbiter, &|peer| match peer {
            Peer::Node(node) => self.member(cluster, &node.0).map(|member| member.pin),
            Peer::Arbiter => None,
        })
    }

    /// Who belongs to a cluster, and where.
    fn fellows(&self, cluster: &str) -> Fellows {
        let members = self.members.now();
        let fellow = |member: &Member| {
            let address = member.ports.importer.and_then(|port| member.address(port));
            (member.name.clone(), Fellow { pin: member.pin, address })
        };
        Fellows { nodes: members.values().filter(|member| member.cluster == cluster).map(fellow).collect() }
    }

    fn member(&self, cluster: &str, name: &str) -> Option<Member> {
        self.members.now().values().find(|member| member.cluster == cluster && member.name == name).cloned()
    }

    /// Asks all nodes of a cluster for what they alone have, and waits until it is here.
    async fn gather(&self, cluster: &str) {
        let began = (self.around.clock)();
        let of: Vec<Pin> = self
            .members
            .now()
            .values()
            .filter(|member| member.cluster == cluster)
            .map(|member| member.pin)
            .collect();
        of.iter().for_each(|pin| self.poke(pin));
        let is_here = || {
            let contacts = self.contacts();
            contacts.iter().filter(|(pin, _)| of.contains(pin)).all(|(pin, contact)| {
                let asked = contact.answered_ms.is_some_and(|at| at >= began);
                asked && contact.heads.iter().all(|head| self.pulls.is_done(*pin, head))
            })
        };
        let mut waited = Duration::ZERO;
        while waited < GATHER && !is_here() {
            tokio::time::sleep(GATHER_LOOK).await;
            waited += GATHER_LOOK;
        }
    }
}

/// How words reach members.
pub(super) struct Way {
    pub daemon: Weak<Daemon>,
    pub cluster: String,
    pub arbiter: Arbiter,
    limit: Duration,
    clients: Mutex<HashMap<Pin, (String, Arc<Client>)>>,
}

impl Ways for Way {
    fn client(&self, to: &Peer) -> Option<Arc<Client>> {
        let Peer::Node(node) = to else { return None };
        let daemon = self.daemon.upgrade()?;
        let member = daemon.member(&self.cluster, &node.0)?;
        let port = member.ports.importer?;
        let address = member.address(port)?;
        let mut clients = lock(&self.clients);
        match clients.get(&member.pin) {
            Some((known, client)) if *known == address => Some(client.clone()),
            _ => {
                let client = Arc::new(daemon.client(&member, port)?);
                clients.insert(member.pin, (address, client.clone()));
                Some(client)
            }
        }
    }

    fn sign(&self, envelopes: &mut [Envelope]) {
        if let Some(daemon) = self.daemon.upgrade() {
            relayed::sign(envelopes, &Peer::Arbiter, &daemon.identity);
        }
    }

    /// The list of members travels in answers, which know what the other side has.
    fn say(&self, _: &Peer, _: &mut Said) {}

    fn heard(&self, from: &Peer, said: Said) {
        let Peer::Node(node) = from else { return };
        let Some(daemon) = self.daemon.upgrade() else { return };
        let said = daemon.proven(&self.cluster, genuine(said.envelopes, &self.cluster, from));
        if !said.is_empty() {
            self.arbiter.say(Ask::Heard { from: node.clone(), said, answer: None });
        }
    }

    fn limit(&self) -> Duration {
        self.limit
    }
}

/// What an arbiter has done beyond its disk.
struct Beyond {
    post: Post,
    way: Arc<Way>,
    runtime: Handle,
}

impl Outside for Beyond {
    fn send(&self, envelope: Envelope) {
        let (Peer::Node(node), Some(daemon)) = (envelope.to.clone(), self.way.daemon.upgrade()) else { return };
        match daemon.member(&self.way.cluster, &node.0) {
            Some(member) if member.ports.importer.is_some() => self.post.send(envelope),
            Some(_) => daemon.arbiters.put(&self.way.cluster, node, envelope),
            None => {}
        }
    }

    fn settle(&self) {
        if let Some(daemon) = self.way.daemon.upgrade() {
            daemon.settling.notify_one();
        }
    }

    fn gather(&self) {
        let way = self.way.clone();
        self.runtime.spawn(async move {
            if let Some(daemon) = way.daemon.upgrade() {
                daemon.gather(&way.cluster).await;
            }
            way.arbiter.say(Ask::Gathered);
        });
    }

    fn turn_off(&self, node: NodeId, epoch: Epoch) {
        let Some(daemon) = self.way.daemon.upgrade() else { return };
        let hook = daemon.file.clusters.get(&self.way.cluster).map_or_else(Vec::new, |cluster| cluster.stonith.clone());
        self.runtime
            .spawn(super::stonith::turn_off(self.way.clone(), hook, daemon.around.log.clone(), node, epoch));
    }
}
