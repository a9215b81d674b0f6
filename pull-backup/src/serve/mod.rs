//! The daemon: follows the nodes that joined, keeps what they published, and offers it to those who may have it.
//!
//! Who joins or is expelled while it runs counts at once. It holds no data key and knows no recipe.

mod electing;
mod follow;
mod lent;
mod reigning;
pub mod retention;
mod shelf;
mod stonith;

use crate::members::{Member, Members};
use crate::publishing::Publish;
use crate::quota::Quotas;
use crate::reports::Reports;
use crate::status::Looking;
use archive::sign::{PublicKey, Signer};
use console::pull_backup_file::PullBackupFile;
use electing::Arbiters;
use lent::Lent;
use link::backoff::Backoff;
use link::budget::Allowance;
use link::client::{Client, Deadlines, Rate, Way};
use link::follow::{Contact, Follow};
use link::given::Given;
use link::identity::{Identity, Pin};
use link::message::Notice;
use link::pull::{Origin, Pulls};
use link::repositories::{Dataset, Layout, Repositories};
use link::server::{Limits, Server};
use shelf::Archive;
use standing::health::Newest;
use standing::kept::Keeper;
use standing::log::{Log, Said};
use standing::look::Look;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a daemon is given besides its configuration.
pub struct Around {
    pub clock: Clock,
    pub chance: Clock,
    pub deadlines: Deadlines,
    pub limits: Limits,
    /// How often a node is asked what is new.
    pub every: Duration,
    /// In which days and weeks begin, for retention.
    pub zone: jiff::tz::TimeZone,
    /// Hears what happens.
    pub log: Log,
}

/// A node that is followed.
struct Followed {
    poke: Arc<Notify>,
    contact: Arc<Mutex<Contact>>,
    stop: watch::Sender<bool>,
    /// Over connections that it lent.
    by_lent: bool,
    /// For what it alone has; it publishes nothing.
    stands_by: bool,
}

pub struct Daemon {
    file: PullBackupFile,
    identity: Arc<Identity>,
    members: Arc<Members>,
    keeper: Keeper,
    given: Given,
    pulls: Arc<Pulls>,
    publish: Publish,
    /// Who takes in a member, and who carries out what the ledger says of members, take turns.
    turn: Mutex<()>,
    around: Around,
    lent: Lent,
    quotas: Arc<Quotas>,
    rate: Option<Arc<Rate>>,
    /// Of clusters whose nodes must be certified.
    cluster_keys: HashMap<String, PublicKey>,
    reports: Reports,
    arbiters: Arbiters,
    /// Who reigns changed: what that means is to be carried out now.
    settling: Notify,
    followed: Mutex<HashMap<Pin, Followed>>,
    /// Nodes that stand by and are asked at their exporter's port, since their importer did not answer.
    elsewhere: Mutex<HashSet<Pin>>,
    /// Pull-backups that are followed.
    leaders: Mutex<HashMap<Pin, Followed>>,
    /// Datasets that have something new for importers.
    news: Mutex<Option<mpsc::UnboundedReceiver<Dataset>>>,
}

/// So many datasets are pulled at once.
const AT_ONCE: usize = 4;
/// How often it is looked who is a member.
const LOOK: Duration = Duration::from_millis(500);

impl Daemon {
    pub fn new(file: &PullBackupFile, identity: Identity, receipt: Signer, around: Around) -> Arc<Daemon> {
        let layout = Layout::Archive { store: file.store.clone() };
        let repositories = Arc::new(Repositories::new(layout, around.clock.clone()));
        let (tell, news) = mpsc::unbounded_channel();
        let log = around.log.clone();
        let pulled = Box::new(move |dataset: &Dataset, report: &archive::sync::SyncReport| {
            for known in &report.snapshots {
                let text = format!("snapshot {} is kept, {} bytes came", &known.id.to_string()[..8], report.bytes);
                log.say(Said::info("pulled", text).dataset(dataset));
            }
            if !report.snapshots.is_empty() || report.records > 0 {
                // Nobody listens any more when the daemon ends.
                let _ = tell.send(dataset.clone());
            }
        });
        let publish = Publish::new(file, around.clock.clone());
        let pulls =
            Pulls::new(repositories, Arc::new(receipt), around.clock.clone(), AT_ONCE, pulled).publishing(Arc::new(publish.clone()));
        Arc::new(Daemon {
            file: file.clone(),
            identity: Arc::new(identity),
            members: Arc::new(Members::new(&file.state)),
            keeper: Keeper::open(&file.state, "pull-backup", around.log.clone()),
            given: Given::open(&file.state, "pull-backup"),
            pulls: Arc::new(pulls),
            publish,
            turn: Mutex::default(),
            around,
            lent: Lent::default(),
            quotas: Arc::new(Quotas::new(file)),
            rate: file.rate.map(|rate| Arc::new(Rate::new(rate))),
            cluster_keys: file.cluster_keys().map(|(name, key)| (name.clone(), PublicKey(key))).collect(),
            reports: Reports::new(&file.state),
            arbiters: Arbiters::default(),
            settling: Notify::new(),
            followed: Mutex::default(),
            elsewhere: Mutex::default(),
            leaders: Mutex::default(),
            news: Mutex::new(Some(news)),
        })
    }

    /// Serves and pulls until `stop` turns true.
    pub async fn run(self: &Arc<Self>, listener: TcpListener, stop: watch::Receiver<bool>) -> link::Result<()> {
        let shelf = Arc::new(Archive { daemon: self.clone() });
        let allow = self.file.allow.clone();
        let server = Server {
            tls: link::tls::server(&self.identity)?,
            shelf: shelf.clone(),
            router: link::routes::routes(shelf, self.around.limits.bounds),
            limits: self.around.limits,
            allow: Arc::new(move |address| allow.contains(address)),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(listener, stop.clone()));
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(news) = news {
            tasks.spawn(self.clone().tell(news, stop.clone()));
        }
        tasks.spawn(self.clone().retain(stop.clone()));
        tasks.spawn(self.clone().follow_others(stop.clone()));
        tasks.spawn(self.clone().reign(stop.clone()));
        tasks.spawn(self.clone().arbitrate(stop.clone()));
        self.look_after(stop).await;
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Follows who is a member, and no longer who is not.
    async fn look_after(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let (mut known, mut wanted) = (None, HashMap::<Pin, (Member, bool)>::new());
        loop {
            let now = self.members.now();
            self.lent.keep(|pin| now.contains_key(pin));
            if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &now)) {
                wanted = self.wanted();
                known = Some(now);
            }
            self.followed().retain(|pin, followed| {
                let stays = wanted.get(pin).is_some_and(|wanted| self.stays(followed, wanted));
                if !stays {
                    followed.stop.send_replace(true);
                }
                stays
            });
            for (pin, (member, stands_by)) in &wanted {
                if !self.followed().contains_key(pin)
                    && let Some(follow) = self.follow(member, *stands_by)
                {
                    tasks.spawn(follow);
                }
            }
            while tasks.try_join_next().is_some() {}
            // Also when nobody asks for anything: a command may wait for the lock.
            self.pulls.repositories.close_idle();
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.followed().values().for_each(|followed| _ = followed.stop.send_replace(true));
        while tasks.join_next().await.is_some() {}
    }

    /// Whose signatures count in a cluster, now.
    fn trust(&self, cluster: &str) -> archive::trust::Trust {
        self.members.trust_by(cluster, self.cluster_keys.get(cluster).copied())
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, HashMap<Pin, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is asked over connections that it lends: it cannot be reached, or would rather not be.
    fn lends(&self, member: &Member) -> bool {
        member.ports.exporter.is_none() || self.lent.has(&member.pin)
    }

    fn client(&self, member: &Member, port: u16) -> Option<Client> {
        let address = member.address(port)?;
        let tls = link::tls::client(&self.identity, member.pin).ok()?;
        let called = format!("{} ({address})", member.name);
        Some(Client::new(called, Way::Dial { address, tls }, self.around.deadlines, None))
    }

    fn follow(&self, member: &Member, stands_by: bool) -> Option<impl Future<Output = ()> + Send + use<>> {
        let by_lent = self.lends(member);
        let client = if by_lent {
            let way = Way::Lent(self.lent.pool(member.pin));
            Client::new(format!("{} (it dials out)", member.name), way, self.around.deadlines, None)
        } else {
            self.client_of(member, stands_by)?
        };
        let client = client.with(self.around.deadlines, self.rate.clone());
        let (poke, contact, (stop, stopped)) = (Arc::new(Notify::new()), Arc::default(), watch::channel(false));
        let signers = self.signers_of(member, stands_by);
        let (quotas, of) = (self.quotas.clone(), member.clone());
        let allowance: Allowance = Arc::new(move |dataset| quotas.allowance(&of.cluster, &of.name, dataset));
        let origin = Origin { client: Arc::new(client), pin: member.pin, signers, allowance: (!stands_by).then_some(allowance) };
        let cluster = member.cluster.clone();
        let follow = Follow {
            origin: Arc::new(origin),
            pulls: self.pulls.clone(),
            wanted: Box::new(move |head| head.cluster == cluster),
            every: self.around.every,
            backoff: Backoff::default(),
            poke: poke.clone(),
            contact: Arc::clone(&contact),
            clock: self.around.clock.clone(),
            chance: self.around.chance.clone(),
        };
        self.followed().insert(member.pin, Followed { poke, contact, stop, by_lent, stands_by });
        Some(follow.run(stopped))
    }

    /// A node says that it has something new.
    fn poke(&self, pin: &Pin) {
        for followed in [self.followed().get(pin), self.leaders().get(pin)].into_iter().flatten() {
            followed.poke.notify_one();
        }
    }

    /// Tells importers what is new; each by itself, so that none waits for another.
    async fn tell(self: Arc<Self>, mut news: mpsc::UnboundedReceiver<Dataset>, mut stop: watch::Receiver<bool>) {
        let mut clients: HashMap<Pin, Arc<Client>> = HashMap::new();
        loop {
            let dataset = tokio::select! {
                dataset = news.recv() => dataset,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Some(dataset) = dataset else { return };
            let members = self.members.now();
            clients.retain(|pin, _| members.contains_key(pin));
            for member in members.values().filter(|member| member.is_follower() || member.cluster == dataset.cluster) {
                let port = if member.is_follower() { member.ports.pull_backup } else { member.ports.importer };
                let Some(port) = port else { continue };
                let made = || self.client(member, port).map(Arc::new);
                let Some(client) = clients.get(&member.pin).cloned().or_else(made) else { continue };
                clients.insert(member.pin, client.clone());
                let notice = Notice { cluster: dataset.cluster.clone(), dataset: dataset.name.clone() };
                // A hint: who does not hear it asks at its next interval.
                tokio::spawn(async move { drop(client.post::<()>("/v1/notice", &notice).await) });
            }
        }
    }

    /// What is known of each member that is followed.
    pub fn contacts(&self) -> Vec<(Pin, Contact)> {
        let contact = |followed: &Followed| followed.contact.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (followed, leaders) = (self.followed(), self.leaders());
        followed.iter().chain(leaders.iter()).map(|(pin, followed)| (*pin, contact(followed))).collect()
    }

    /// How this pull-backup stands, looked at so often; before each look, what this daemon knows of its peers is kept.
    pub fn looking(self: &Arc<Self>, file: &PullBackupFile, every: Duration) -> Look {
        let (mut looking, daemon, state) = (Looking::new(file), self.clone(), file.state.clone());
        let of = self.clone();
        looking.arbiters = Some(Box::new(move || of.arbiters.all().values().map(|arbiter| arbiter.seen().shape).collect()));
        let gather = move || {
            let now_ms = (daemon.around.clock)();
            let members = daemon.members.now();
            let name = |pin: &Pin| members.get(pin).map_or_else(|| pin.to_string(), |member| member.name.clone());
            let captured = |dataset: &Dataset| looking.holding(dataset, now_ms).ok().flatten()?.captured_ms();
            daemon.keeper.note(&daemon.contacts(), &daemon.pulls.facts(), &name, &captured, now_ms);
            // Whoever cannot write that says so of what matters more.
            let _ = daemon.given.keep();
            let host = looking.look(now_ms);
            crate::status::arbiters::tell(&state, &host.arbiters, now_ms);
            host
        };
        Look {
            daemon: "pull-backup",
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            state: file.state.clone(),
            alert: file.alert.clone(),
            // Whoever exports pings: one host for each dataset.
            pings: Default::default(),
            every,
            wall: self.around.clock.clone(),
            gather: Arc::new(gather),
            newest: Newest::new(every),
            log: self.around.log.clone(),
        }
    }

    pub fn pulls(&self) -> &Pulls {
        &self.pulls
    }

    /// The reigns, the quarantine, and the rule between the two.
    pub fn publish(&self) -> &Publish {
        &self.publish
    }

    pub fn members(&self) -> &Members {
        &self.members
    }
}
