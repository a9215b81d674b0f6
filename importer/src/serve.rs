//! The daemon of a node that stands by: it follows the pull-backups that the node joined, and keeps a mirror of its cluster's datasets.
//!
//! It is told when there is something new, and asks at intervals as well. The mirror is one repository with the node's spool, so that after a takeover the
//! first export builds on what was imported. A host without identity keeps the mirror ready and imports nothing.

use archive::sign::{PublicKey, Signer};
use archive::sync::SyncReport;
use archive::trust::Trust;
use console::node_file::NodeFile;
use link::backoff::Backoff;
use link::client::{Client, Deadlines, Way};
use link::follow::{Contact, Follow};
use link::identity::{Identity, Pin};
use link::membership::{PullBackup, Reign};
use link::message::Head;
use link::node::Node;
use link::pull::{Origin, Pulls};
use link::repositories::Dataset;
use link::server::{Limits, Server};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// What a daemon is given besides its configuration.
#[derive(Clone)]
pub struct Around {
    /// Unix time in milliseconds.
    pub wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub chance: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub deadlines: Deadlines,
    pub limits: Limits,
    /// How often a pull-backup is asked what is new.
    pub every: Duration,
    /// Hears what happens, a line each.
    pub tell: Arc<dyn Fn(String) + Send + Sync>,
}

/// A pull-backup that is followed.
struct Followed {
    poke: Arc<Notify>,
    contact: Arc<Mutex<Contact>>,
    stop: watch::Sender<bool>,
}

type AllFollowed = Arc<Mutex<HashMap<Pin, Followed>>>;

pub struct Daemon {
    file: NodeFile,
    identity: Identity,
    node: Arc<Node>,
    pulls: Arc<Pulls>,
    around: Around,
    followed: AllFollowed,
}

const AT_ONCE: usize = 2;
/// How often it is looked which pull-backups this node joined.
const LOOK: Duration = Duration::from_secs(1);

fn locked(followed: &AllFollowed) -> MutexGuard<'_, HashMap<Pin, Followed>> {
    followed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    pub fn new(file: NodeFile, identity: Identity, receipt: Signer, around: Around) -> Arc<Daemon> {
        let followed = AllFollowed::default();
        let all = followed.clone();
        let noticed = Box::new(move |_: &Dataset| locked(&all).values().for_each(|followed| followed.poke.notify_one()));
        let node = Node::new(&file.node.state, &file.cluster, around.wall.clone(), noticed, Box::new(|_| ()));
        let tell = around.tell.clone();
        let pulled = Box::new(move |dataset: &Dataset, report: &SyncReport| {
            for known in &report.snapshots {
                tell(format!("dataset {}: snapshot {} is in the mirror", dataset.name, &known.id.to_string()[..8]));
            }
            for refused in &report.refused {
                tell(format!("dataset {}: refused: {}: {}", dataset.name, refused.name, refused.why));
            }
        });
        let pulls = Pulls::new(node.repositories.clone(), Arc::new(receipt), around.wall.clone(), AT_ONCE, pulled);
        Arc::new(Daemon { file, identity, node: Arc::new(node), pulls: Arc::new(pulls), around, followed })
    }

    /// Serves and follows until `stop` turns true.
    pub async fn run(self: &Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) -> link::Result<()> {
        let allow = self.file.node.allow.clone();
        let server = Server {
            tls: link::tls::server(&self.identity)?,
            shelf: self.node.clone(),
            router: link::routes::routes(self.node.clone()),
            limits: self.around.limits,
            allow: Arc::new(move |address| allow.contains(address)),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(listener, stop.clone()));
        loop {
            self.look(&mut tasks);
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        locked(&self.followed).values().for_each(|followed| _ = followed.stop.send_replace(true));
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Follows each pull-backup that this node joined; the active node needs no copy of its own.
    fn look(&self, tasks: &mut JoinSet<()>) {
        let active = matches!(Reign::open(&self.file.node.state), Ok(Some(Reign { active: true, .. })));
        let known = if active { vec![] } else { self.node.pull_backups() };
        locked(&self.followed).retain(|pin, followed| {
            let stays = known.iter().any(|known| known.pin == *pin);
            if !stays {
                followed.stop.send_replace(true);
            }
            stays
        });
        for pull_backup in &known {
            if !locked(&self.followed).contains_key(&pull_backup.pin)
                && let Some(follow) = self.follow(pull_backup)
            {
                tasks.spawn(follow);
            }
        }
    }

    fn follow(&self, pull_backup: &PullBackup) -> Option<impl Future<Output = ()> + Send + use<>> {
        let tls = link::tls::client(&self.identity, pull_backup.pin).ok()?;
        let way = Way::Dial { address: pull_backup.address.clone(), tls };
        let client = Client::new(&pull_backup.address, way, self.around.deadlines, None);
        let (poke, contact, (stop, stopped)) = (Arc::new(Notify::new()), Arc::default(), watch::channel(false));
        let cluster_key = self.file.seal.cluster_key.map(PublicKey);
        let signers = Box::new(move |_: &Head| Trust { cluster_key, pinned: vec![] }.into());
        let origin = Origin { client: Arc::new(client), pin: pull_backup.pin, signers, allowance: None };
        let datasets: Vec<String> = self.file.datasets.iter().map(|dataset| dataset.name.clone()).collect();
        let cluster = self.file.cluster.clone();
        let follow = Follow {
            origin: Arc::new(origin),
            pulls: self.pulls.clone(),
            wanted: Box::new(move |head| head.cluster == cluster && datasets.contains(&head.dataset)),
            every: self.around.every,
            backoff: Backoff::default(),
            poke: poke.clone(),
            contact: Arc::clone(&contact),
            clock: self.around.wall.clone(),
            chance: self.around.chance.clone(),
        };
        locked(&self.followed).insert(pull_backup.pin, Followed { poke, contact, stop });
        Some(follow.run(stopped))
    }

    /// What is known of each pull-backup that is followed.
    pub fn contacts(&self) -> Vec<(Pin, Contact)> {
        let contact = |followed: &Followed| followed.contact.lock().unwrap_or_else(PoisonError::into_inner).clone();
        locked(&self.followed).iter().map(|(pin, followed)| (*pin, contact(followed))).collect()
    }

    pub fn pulls(&self) -> &Pulls {
        &self.pulls
    }
}
