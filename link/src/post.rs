//! Carrying envelopes of `election`: several at a time to each host, one question after the other, and whatever does not arrive in time is lost.
//!
//! The protocol's messages may be lost, doubled and late; nobody waits for one. So nothing here is tried again: who still wants to say something says it anew. A host that
//! does not answer delays nobody else, and what is for it beyond a few envelopes is dropped.
//!
//! An envelope is believed only from whom the connection proves to be its sender: `genuine` is asked on both sides.

use crate::client::Client;
use crate::identity::Pin;
use election::{Envelope, Peer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What is said in one question, and what is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub envelopes: Vec<Envelope>,
    /// Of a member to the arbiter: which list of its fellows it has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub knows: Option<String>,
    /// Of a member to a fellow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<OfRole>,
    /// Why that is not done or so, in the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused: Option<String>,
    /// With that: it is decided, and asking again is of no use.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub for_good: bool,
    /// How long it would take, in the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub takes_ms: Option<u64>,
    /// Of the arbiter to a member that has another list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fellows: Option<Fellows>,
    /// Of a member to a fellow, empty: where do you see the addresses? In the answer: there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen: Option<Seen>,
}

/// Where a member sees the cluster's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    pub sights: Vec<Sight>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sight {
    pub address: String,
    /// Link addresses of those that have it.
    pub holders: Vec<String>,
    pub age_ms: u64,
}

/// What a member asks a fellow of its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfRole {
    /// Hand it over to me; the service may be closed for so many milliseconds, or as the one who is asked has it.
    HandOver { within_ms: Option<u64> },
    /// The same, and nobody said so: it was lost here, and should come home.
    Home,
    /// How far is that?
    HandsOver,
    /// Do you still wait for it?
    Waits,
    /// How long would it take you to become active?
    Takes,
}

/// Where the members of a cluster are, and how they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fellows {
    #[serde(default)]
    pub nodes: BTreeMap<String, Fellow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fellow {
    pub pin: Pin,
    /// HOST:PORT of its importer; none where nobody can reach it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
}

impl Fellows {
    /// Another for each other list.
    pub fn mark(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        archive::id::hex(&archive::digest::sha256(&text).0[..8])
    }

    pub fn name_of(&self, pin: &Pin) -> Option<&String> {
        self.nodes.iter().find(|(_, fellow)| fellow.pin == *pin).map(|(name, _)| name)
    }
}

/// The envelopes that this sender may send: its own, in this cluster.
pub fn genuine(envelopes: Vec<Envelope>, cluster: &str, from: &Peer) -> Vec<Envelope> {
    let is_its = |envelope: &Envelope| envelope.cluster.0 == cluster && envelope.from == *from;
    envelopes.into_iter().filter(is_its).collect()
}

/// Envelopes that wait for one host; more are lost, as on a wire.
const WAITING_MAX: usize = 64;

/// How a post finds its way.
pub trait Ways: Send + Sync + 'static {
    /// The host of a peer now; none where it cannot be reached from here.
    fn client(&self, to: &Peer) -> Option<Arc<Client>>;

    /// Signs what others carry for us.
    fn sign(&self, envelopes: &mut [Envelope]);

    /// What is said besides the envelopes.
    fn say(&self, to: &Peer, said: &mut Said);

    /// What a host answered.
    fn heard(&self, from: &Peer, said: Said);

    /// No answer is waited for longer.
    fn limit(&self) -> Duration;
}

/// Sends envelopes.
pub struct Post {
    ways: Arc<dyn Ways>,
    runtime: Handle,
    queues: Mutex<HashMap<Peer, mpsc::Sender<Envelope>>>,
}

impl Post {
    pub fn new(ways: Arc<dyn Ways>, runtime: Handle) -> Post {
        Post { ways, runtime, queues: Mutex::default() }
    }

    /// Sends, and does not wait.
    pub fn send(&self, envelope: Envelope) {
        let to = envelope.to.clone();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(to.clone()).or_insert_with(|| {
            let (queue, waiting) = mpsc::channel(WAITING_MAX);
            self.runtime.spawn(carry(self.ways.clone(), to, waiting));
            queue
        });
        // Too many wait: it is lost.
        let _ = queue.try_send(envelope);
    }
}

async fn carry(ways: Arc<dyn Ways>, to: Peer, mut waiting: mpsc::Receiver<Envelope>) {
    while let Some(first) = waiting.recv().await {
        let mut said = Said { envelopes: vec![first], ..Said::default() };
        while let Ok(next) = waiting.try_recv() {
            said.envelopes.push(next);
        }
        let Some(client) = ways.client(&to) else { continue };
        ways.sign(&mut said.envelopes);
        ways.say(&to, &mut said);
        if let Ok(Ok(answer)) = timeout(ways.limit(), client.post::<Said>("/v1/election", &said)).await {
            ways.heard(&to, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use election::{Epoch, Message, NodeId};

    #[test]
    fn only_ones_own_envelopes_of_ones_own_cluster_count() {
        let envelope = |cluster: &str, from: &str| Envelope {
            cluster: cluster.into(),
            from: Peer::Node(NodeId::from(from)),
            to: Peer::Arbiter,
            seen: Epoch(1),
            message: Message::Noted { holder: None },
        };
        let said = vec![envelope("shop", "web1"), envelope("shop", "web2"), envelope("bank", "web1")];
        assert_eq!(genuine(said, "shop", &Peer::Node("web1".into())), [envelope("shop", "web1")]);
    }

    #[test]
    fn a_list_has_another_mark_when_an_address_changes() {
        let fellow = |address: &str| Fellow { pin: Pin([1; 32]), address: Some(address.into()) };
        let list = |address: &str| Fellows { nodes: BTreeMap::from([("web1".to_owned(), fellow(address))]) };
        assert_eq!(list("192.0.2.1:8024").mark(), list("192.0.2.1:8024").mark());
        assert_ne!(list("192.0.2.1:8024").mark(), list("192.0.2.2:8024").mark());
        assert_eq!(list("192.0.2.1:8024").name_of(&Pin([1; 32])).map(String::as_str), Some("web1"));
    }
}
