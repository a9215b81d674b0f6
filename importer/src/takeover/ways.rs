//! The paths of envelopes: to the arbiter, which is one of the pull-backups that this node joined, and to its fellows, whose addresses and keys the arbiter told.

use crate::takeover::hands::{HAND_OVERS, Hands, Stays};
use crate::takeover::looking::Measured;
use crate::takeover::outside::Sights;
use crate::takeover::seat::Inbox;
use crate::takeover::told::Told;
use crate::takeover::words;
use console::node_file::NodeFile;
use election::message::Standing;
use election::{Envelope, Peer};
use link::client::{Client, Deadlines, Way};
use link::identity::{Identity, Pin};
use link::membership::PullBackup;
use link::node::{Electing, Node};
use link::post::{Fellows, OfRole, Said, Seen, Ways, genuine};
use link::{relayed, state_file};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// An answer that takes longer is given up, where no lease says otherwise.
const LIMIT: Duration = Duration::from_secs(2);

pub struct Paths {
    identity: Identity,
    cluster: String,
    name: String,
    /// HOST:PORT of the pull-backup that the node file marks.
    marked: Option<String>,
    node: Arc<Node>,
    state: PathBuf,
    file: PathBuf,
    fellows: RwLock<Arc<Fellows>>,
    clients: Mutex<HashMap<Peer, (Pin, String, Arc<Client>)>>,
    limit_ms: AtomicU64,
    hands: OnceLock<Arc<Hands>>,
    /// This node asked for the role, and waits for it.
    waits: AtomicBool,
    inbox: Inbox,
    told: Arc<Told>,
    sights: Arc<Sights>,
}

impl Paths {
    pub fn new(file: &NodeFile, identity: Identity, node: Arc<Node>, (inbox, told, sights): (Inbox, Arc<Told>, Arc<Sights>)) -> Arc<Paths> {
        let marked = file.arbiter().map(str::to_owned);
        let path = file.node.state.join("fellows.toml");
        // What cannot be read is told again.
        let fellows = state_file::read::<Fellows>(&path).ok().flatten().unwrap_or_default();
        Arc::new(Paths {
            identity,
            cluster: file.cluster.clone(),
            name: file.node.name.clone(),
            marked,
            node,
            state: file.node.state.clone(),
            file: path,
            fellows: RwLock::new(Arc::new(fellows)),
            clients: Mutex::default(),
            limit_ms: AtomicU64::new(LIMIT.as_millis() as u64),
            hands: OnceLock::new(),
            waits: AtomicBool::new(false),
            inbox,
            told,
            sights,
        })
    }

    /// What hands the role over to fellows that ask for it.
    pub fn hand_over_by(&self, hands: Hands) {
        // The first one stays.
        let _ = self.hands.set(Arc::new(hands));
    }

    /// Whether this node asked for the role, and waits for it.
    pub fn wait_for_the_role(&self, waits: bool) {
        self.waits.store(waits, Ordering::SeqCst);
    }

    /// How long an answer is waited for, by the timers of a reign.
    pub fn wait_at_most(&self, limit: Option<Duration>) {
        self.limit_ms.store(limit.unwrap_or(LIMIT).as_millis() as u64, Ordering::Relaxed);
    }

    fn decides(&self) -> Option<PullBackup> {
        let joined = self.node.pull_backups();
        let marked = joined.iter().find(|known| self.marked.as_ref() == Some(&known.address));
        marked
            .or(match joined.as_slice() {
                [only] => Some(only),
                _ => None,
            })
            .cloned()
    }

    fn place(&self, to: &Peer) -> Option<(Pin, String)> {
        match to {
            Peer::Arbiter => self.decides().map(|known| (known.pin, known.address)),
            Peer::Node(name) => {
                let fellows = self.fellows();
                let fellow = fellows.nodes.get(&name.0)?;
                Some((fellow.pin, fellow.address.clone()?))
            }
        }
    }

    fn learn(&self, told: Fellows) {
        let mut fellows = self.fellows.write().unwrap_or_else(PoisonError::into_inner);
        if **fellows != told {
            // It is told again when this process forgot it.
            let _ = state_file::say(&self.file, &told);
            *fellows = Arc::new(told);
        }
    }

    fn own(&self) -> Peer {
        Peer::Node(self.name.as_str().into())
    }

    /// Of what was carried here for others, what is of whom it says.
    fn proven(&self, envelopes: Vec<Envelope>) -> Vec<Envelope> {
        relayed::proven(envelopes, &self.own(), &|peer| self.place(peer).map(|(pin, _)| pin))
    }

    fn take(&self, from: &Peer, said: Said) {
        if let Some(fellows) = said.fellows.filter(|_| *from == Peer::Arbiter) {
            self.learn(fellows);
        }
        for envelope in self.proven(genuine(said.envelopes, &self.cluster, from)) {
            self.inbox.receive(envelope);
        }
    }
}

impl Ways for Paths {
    fn client(&self, to: &Peer) -> Option<Arc<Client>> {
        let (pin, address) = self.place(to)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, client)) = clients.get(to).filter(|(known, at, _)| *known == pin && *at == address) {
            return Some(client.clone());
        }
        let tls = link::tls::client(&self.identity, pin).ok()?;
        let deadlines = Deadlines { connect: LIMIT, answer: LIMIT, stretch: LIMIT, ..Deadlines::default() };
        let client = Arc::new(Client::new(&address, Way::Dial { address: address.clone(), tls }, deadlines, None));
        clients.insert(to.clone(), (pin, address, client.clone()));
        Some(client)
    }

    fn sign(&self, envelopes: &mut [Envelope]) {
        relayed::sign(envelopes, &self.own(), &self.identity);
    }

    fn say(&self, to: &Peer, said: &mut Said) {
        if *to == Peer::Arbiter {
            said.knows = Some(self.fellows().mark());
        }
    }

    fn heard(&self, from: &Peer, said: Said) {
        self.take(from, said);
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.limit_ms.load(Ordering::Relaxed))
    }
}

impl Electing for Paths {
    fn arbiter(&self) -> Option<Pin> {
        self.decides().map(|known| known.pin)
    }

    fn fellows(&self) -> Arc<Fellows> {
        self.fellows.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hear(&self, from: &Peer, mut said: Said) -> Said {
        if let Some(fellows) = said.fellows.take().filter(|_| *from == Peer::Arbiter) {
            self.learn(fellows);
        }
        let takes_ms = (said.role == Some(OfRole::Takes)).then(|| Measured::open(&self.state).activation_ms);
        let seen = said.seen.take().map(|_| self.sights.told());
        let refused = said.role.and_then(|asked| self.asked_of_the_role(from, asked).err());
        let mut answers = Vec::new();
        for envelope in self.proven(said.envelopes) {
            answers.extend(self.inbox.ask(envelope, from));
        }
        self.sign(&mut answers);
        Said {
            envelopes: answers,
            knows: (*from == Peer::Arbiter).then(|| self.fellows().mark()),
            for_good: refused.as_ref().is_some_and(|refused| refused.for_good),
            refused: refused.map(|refused| refused.why),
            takes_ms,
            seen,
            ..Said::default()
        }
    }
}

impl Paths {
    /// A fellow that is ready wants the role, or to know how far that is.
    fn asked_of_the_role(&self, from: &Peer, asked: OfRole) -> Result<(), Stays> {
        let Peer::Node(to) = from else { return Err(Stays::now("the arbiter takes no role".into())) };
        let (name, standing, role) = (&self.name, self.told.standing(), self.told.role());
        let hands = || self.hands.get().ok_or_else(|| Stays::now(format!("{name} just begins")));
        match (standing, asked) {
            (_, OfRole::Takes) => Ok(()),
            (_, OfRole::Waits) if self.waits.load(Ordering::SeqCst) => Ok(()),
            (_, OfRole::Waits) => Err(Stays::now(format!("{name} asks for it no more"))),
            // Who paused the cluster wants nothing to move by itself.
            (Standing::Active, OfRole::Home) if role.as_ref().is_some_and(|role| role.paused.is_some()) => {
                Err(Stays::now(format!("{name} holds the role for as long as the cluster is paused")))
            }
            (Standing::Active, OfRole::Home) if role.as_ref().is_some_and(|role| role.handed) => {
                Err(Stays::for_good(format!("the role was handed to {name} since it was lost")))
            }
            (Standing::Active, OfRole::Home) => hands()?.begin(to, None, 1),
            (Standing::Active, OfRole::HandOver { within_ms }) => hands()?.begin(to, within_ms.map(Duration::from_millis), HAND_OVERS),
            (Standing::Active, OfRole::HandsOver) => hands()?.how_far(to),
            (Standing::SteppingDown, OfRole::HandsOver) => Ok(()),
            (other, _) => Err(Stays::now(format!("{name} {}", words::standing(other)))),
        }
    }

    pub fn sights(&self) -> &Sights {
        &self.sights
    }

    /// All members but this one.
    pub fn others(&self) -> Vec<String> {
        self.fellows().nodes.keys().filter(|name| **name != self.name).cloned().collect()
    }

    /// Where a fellow sees the addresses; nothing where it cannot be asked.
    pub async fn ask_what_is_seen(&self, name: &str) -> Option<Seen> {
        let client = self.client(&Peer::Node(name.into()))?;
        let question = Said { seen: Some(Seen::default()), ..Said::default() };
        let answer = tokio::time::timeout(LIMIT, client.post::<Said>("/v1/election", &question)).await;
        answer.ok()?.ok()?.seen
    }

    /// Asks all fellows for the role. Which one hands it over, or why none does.
    pub async fn ask_for_the_role(&self, asked: OfRole) -> Result<String, Vec<Stays>> {
        let mut said = Vec::new();
        for name in self.others() {
            match self.ask_of_the_role(&name, asked).await {
                Ok(()) => return Ok(name),
                Err(stays) => said.push(stays),
            }
        }
        Err(said)
    }

    /// Whether a fellow does it; else why not.
    pub async fn ask_of_the_role(&self, name: &str, asked: OfRole) -> Result<(), Stays> {
        let answer = self.ask(name, asked).await.map_err(Stays::now)?;
        let Said { refused, for_good, .. } = answer;
        refused.map_or(Ok(()), |why| Err(Stays { why, for_good }))
    }

    /// How long a fellow took when it became active last; nothing where it never was, or cannot be asked.
    pub async fn takes(&self, name: &str) -> Option<Duration> {
        let answer = self.ask(name, OfRole::Takes).await.ok()?;
        answer.takes_ms.filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    async fn ask(&self, name: &str, asked: OfRole) -> Result<Said, String> {
        let client = self.client(&Peer::Node(name.into()));
        let client = client.ok_or_else(|| format!("{name} cannot be reached from here"))?;
        let question = Said { role: Some(asked), ..Said::default() };
        client.post("/v1/election", &question).await.map_err(|error| link::pull::chain(&error))
    }
}
