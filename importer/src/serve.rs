//! The daemon of a node that stands by: it follows the pull-backups that the node joined, and keeps a mirror of its cluster's datasets.
//!
//! It is told when there is something new, and asks at intervals as well. What is new is imported (`import`), each dataset by itself; one that fails is tried
//! again, sooner each time less, and at once when there is something newer. The mirror is one repository with the node's spool, so that after a takeover the
//! first export builds on what was imported.

use crate::import::{Did, For, Imports};
use crate::imported::Imported;
use crate::status::Looking;
use crate::trim::trim;
use archive::sign::PublicKey;
use archive::sync::SyncReport;
use archive::trust::Trust;
use console::node_file::{Dataset as Configured, NodeFile};
use link::backoff::Backoff;
use link::client::{Client, Deadlines, Way};
use link::follow::{Contact, Follow};
use link::identity::{Identity, Pin};
use link::membership::{PullBackup, Reign};
use link::message::{Head, Heads};
use link::node::Node;
use link::pull::{Origin, Pulls};
use link::repositories::Dataset;
use link::server::{Limits, Server};
use standing::health::Newest;
use standing::kept::Keeper;
use standing::log::{Log, Said};
use standing::look::Look;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

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
    /// Hears what happens.
    pub log: Log,
}

/// A pull-backup that is followed.
struct Followed {
    origin: Arc<Origin>,
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
    imports: Arc<Imports>,
    /// Something new is in the mirror, by dataset.
    news: Arc<BTreeMap<String, Notify>>,
    importing: Semaphore,
    /// Something was imported.
    imported: Notify,
}

const AT_ONCE: usize = 2;
/// How often it is looked which pull-backups this node joined.
const LOOK: Duration = Duration::from_secs(1);
/// So many datasets are imported at once.
const IMPORTS_AT_ONCE: usize = 2;
/// How often it is looked whether there is something to import, told or not.
const LOOK_INTO_MIRROR: Duration = Duration::from_secs(30);

fn locked(followed: &AllFollowed) -> MutexGuard<'_, HashMap<Pin, Followed>> {
    followed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Daemon {
    pub fn new(file: NodeFile, identity: Identity, imports: Imports, around: Around) -> Arc<Daemon> {
        let followed = AllFollowed::default();
        let all = followed.clone();
        let noticed = Box::new(move |_: &Dataset| locked(&all).values().for_each(|followed| followed.poke.notify_one()));
        let node = Node::new(&file.node.state, &file.cluster, around.wall.clone(), noticed, Box::new(|_| ()));
        let news: BTreeMap<String, Notify> = file.datasets.iter().map(|dataset| (dataset.name.clone(), Notify::new())).collect();
        let (log, news) = (around.log.clone(), Arc::new(news));
        let of = news.clone();
        let pulled = Box::new(move |dataset: &Dataset, report: &SyncReport| {
            if let Some(news) = of.get(&dataset.name).filter(|_| !report.snapshots.is_empty()) {
                news.notify_one();
            }
            for known in &report.snapshots {
                let text = format!("snapshot {} is in the mirror", &known.id.to_string()[..8]);
                log.say(Said::info("pulled", text).dataset(&dataset.name));
            }
            for refused in &report.refused {
                log.say(Said::warn("refused", format!("{}: {}", refused.name, refused.why)).dataset(&dataset.name));
            }
        });
        let state = file.node.state.clone();
        let imported = Box::new(move |dataset: &Dataset| {
            let imported = Imported::open(&state, &dataset.name).ok()?;
            Some((imported.snapshot?, imported.evidence))
        });
        let pulls = Pulls::new(node.repositories.clone(), imports.signer.clone(), around.wall.clone(), AT_ONCE, pulled);
        Arc::new(Daemon {
            file,
            identity,
            node: Arc::new(node),
            pulls: Arc::new(pulls.importing(imported)),
            around,
            followed,
            imports: Arc::new(imports),
            news,
            importing: Semaphore::new(IMPORTS_AT_ONCE),
            imported: Notify::new(),
        })
    }

    /// This node, as others meet it.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub fn imports(&self) -> &Arc<Imports> {
        &self.imports
    }

    /// Asks every pull-backup what is new, and looks into the mirror, now.
    pub fn poke_all(&self) {
        locked(&self.followed).values().for_each(|followed| followed.poke.notify_one());
        self.news.values().for_each(Notify::notify_one);
    }

    /// Waits until something was imported.
    pub async fn imported(&self) {
        self.imported.notified().await;
    }

    /// Imports the newest of a dataset now. It blocks.
    pub fn bring(&self, dataset: &Configured, purpose: For) -> Result<Did, String> {
        self.imports.newest(dataset, purpose).map_err(|failure| failure.to_string())
    }

    /// Serves and follows until `stop` turns true.
    pub async fn run(self: &Arc<Self>, listener: TcpListener, mut stop: watch::Receiver<bool>) -> link::Result<()> {
        let allow = self.file.node.allow.clone();
        let server = Server {
            tls: link::tls::server(&self.identity)?,
            shelf: self.node.clone(),
            router: link::routes::routes(self.node.clone(), self.around.limits.bounds),
            limits: self.around.limits,
            allow: Arc::new(move |address| allow.contains(address)),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(listener, stop.clone()));
        for dataset in &self.file.datasets {
            tasks.spawn(self.clone().import(dataset.clone(), stop.clone()));
        }
        loop {
            self.look(&mut tasks);
            // The exporter of this node has the same repository, and may need it alone.
            self.node.repositories.close_idle();
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

    /// Imports what is new of a dataset, until `stop` turns true; an import under way is finished.
    async fn import(self: Arc<Self>, dataset: Configured, mut stop: watch::Receiver<bool>) {
        let (mut failures, mut said) = (0, None);
        loop {
            let permit = self.importing.acquire().await;
            let (imports, of) = (self.imports.clone(), dataset.clone());
            let outcome =
                tokio::task::spawn_blocking(move || imports.newest(&of, For::StandingBy).map_err(|failure| failure.to_string())).await;
            drop(permit);
            let outcome = outcome.map_err(|error| error.to_string()).flatten();
            failures = if outcome.is_err() { failures + 1 } else { 0 };
            if let Some(line) = self.words(&dataset, &outcome) {
                // The same again and again is said once.
                if said.as_ref() != Some(&line) {
                    let said = if outcome.is_ok() { Said::info("imported", &line) } else { Said::warn("import-failed", &line) };
                    self.around.log.say(said.dataset(&dataset.name));
                }
                said = Some(line);
            }
            if !matches!(outcome, Ok(Did::Nothing | Did::NotHere(_))) {
                self.imported.notify_one();
                self.tell_all(&dataset).await;
            }
            if matches!(outcome, Ok(Did::Imported(_))) {
                let (daemon, of) = (self.clone(), dataset.name.clone());
                // A mirror that is larger than need be harms nobody.
                let _ = tokio::task::spawn_blocking(move || {
                    trim(&daemon.file, &daemon.node, daemon.pulls.receipt(), &of, (daemon.around.wall)())
                })
                .await;
            }
            let wait = match failures {
                0 => LOOK_INTO_MIRROR,
                _ => Backoff::default().after(failures, (self.around.chance)()),
            };
            tokio::select! {
                _ = timeout(wait, self.news[&dataset.name].notified()) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn words(&self, dataset: &Configured, outcome: &Result<Did, String>) -> Option<String> {
        match outcome {
            Ok(Did::Nothing) => None,
            Ok(Did::NotHere(why)) => Some((*why).to_owned()),
            Ok(Did::Imported(done)) => {
                for (source, finding) in &done.findings {
                    self.around
                        .log
                        .say(Said::warn("found", format!("{source}: {}", finding.what)).dataset(&dataset.name));
                }
                Some(format!("snapshot {} is imported", &done.known.id.to_string()[..8]))
            }
            Err(why) => Some(why.clone()),
        }
    }

    /// Tells every pull-backup what is imported here.
    async fn tell_all(&self, dataset: &Configured) {
        let dataset = Dataset { cluster: self.file.cluster.clone(), name: dataset.name.clone() };
        let origins: Vec<Arc<Origin>> = locked(&self.followed).values().map(|followed| followed.origin.clone()).collect();
        for origin in origins {
            // It is said again with the next pull.
            let _ = self.pulls.tell(&origin, &dataset).await;
        }
    }

    fn origin(&self, pull_backup: &PullBackup) -> Option<Origin> {
        let tls = link::tls::client(&self.identity, pull_backup.pin).ok()?;
        let way = Way::Dial { address: pull_backup.address.clone(), tls };
        let client = Client::new(&pull_backup.address, way, self.around.deadlines, None);
        let cluster_key = self.file.seal.cluster_key.map(PublicKey);
        let signers = Box::new(move |_: &Head| Trust { cluster_key, ..Trust::default() }.into());
        Some(Origin { client: Arc::new(client), pin: pull_backup.pin, signers, allowance: None })
    }

    fn follow(&self, pull_backup: &PullBackup) -> Option<impl Future<Output = ()> + Send + use<>> {
        let origin = Arc::new(self.origin(pull_backup)?);
        let (poke, contact, (stop, stopped)) = (Arc::new(Notify::new()), Arc::default(), watch::channel(false));
        let datasets: Vec<String> = self.file.datasets.iter().map(|dataset| dataset.name.clone()).collect();
        let cluster = self.file.cluster.clone();
        let follow = Follow {
            origin: origin.clone(),
            pulls: self.pulls.clone(),
            wanted: Box::new(move |head| head.cluster == cluster && datasets.contains(&head.dataset)),
            every: self.around.every,
            backoff: Backoff::default(),
            poke: poke.clone(),
            contact: Arc::clone(&contact),
            clock: self.around.wall.clone(),
            chance: self.around.chance.clone(),
        };
        locked(&self.followed).insert(pull_backup.pin, Followed { origin, poke, contact, stop });
        Some(follow.run(stopped))
    }

    /// Pulls and imports these datasets once, from all pull-backups that this node joined. What went wrong, by dataset or pull-backup.
    pub async fn once(self: &Arc<Self>, datasets: &[&Configured]) -> Vec<String> {
        let mut wrong = Vec::new();
        for pull_backup in self.node.pull_backups() {
            let Some(origin) = self.origin(&pull_backup) else { continue };
            match origin.client.get::<Heads>("/v1/heads").await {
                Err(error) => wrong.push(link::pull::chain(&error)),
                Ok(heads) => {
                    let wanted =
                        |head: &&Head| head.cluster == self.file.cluster && datasets.iter().any(|dataset| dataset.name == head.dataset);
                    for head in heads.datasets.iter().filter(wanted) {
                        match self.pulls.pull(&origin, head).await {
                            Err(error) => wrong.push(format!("dataset {}: {}", head.dataset, link::pull::chain(&error))),
                            Ok(()) => wrong.extend(self.behind(pull_backup.pin, head)),
                        }
                    }
                }
            }
            locked(&self.followed).insert(
                pull_backup.pin,
                Followed {
                    origin: Arc::new(origin),
                    poke: Arc::default(),
                    contact: Arc::default(),
                    stop: watch::channel(false).0,
                },
            );
        }
        for dataset in datasets {
            let (imports, of) = (self.imports.clone(), (*dataset).clone());
            let outcome =
                tokio::task::spawn_blocking(move || imports.newest(&of, For::StandingBy).map_err(|failure| failure.to_string())).await;
            let outcome = outcome.map_err(|error| error.to_string()).flatten();
            match (self.words(dataset, &outcome), &outcome) {
                (Some(line), Err(_)) => wrong.push(format!("dataset {}: {line}", dataset.name)),
                (line, _) => {
                    let said = Said::info("imported", line.unwrap_or_else(|| "nothing new to import".into()));
                    self.around.log.say(said.dataset(&dataset.name));
                }
            }
            self.tell_all(dataset).await;
        }
        wrong
    }

    /// What keeps the newest that a pull-backup offers from being held here.
    fn behind(&self, pin: Pin, head: &Head) -> Option<String> {
        let dataset = link::pull::dataset_of(head);
        let (.., fact) = self.pulls.facts().into_iter().find(|(of, from, _)| *of == dataset && *from == pin)?;
        let why = fact.trouble.filter(|_| fact.held < head.snapshot)?;
        Some(format!("dataset {}: the newest did not arrive: {why}", head.dataset))
    }

    /// What is known of each pull-backup that is followed.
    pub fn contacts(&self) -> Vec<(Pin, Contact)> {
        let contact = |followed: &Followed| followed.contact.lock().unwrap_or_else(PoisonError::into_inner).clone();
        locked(&self.followed).iter().map(|(pin, followed)| (*pin, contact(followed))).collect()
    }

    /// How this node stands, looked at so often; before each look, what this daemon knows of its peers is kept.
    pub fn looking(self: &Arc<Self>, every: Duration) -> Look {
        let (looking, daemon) = (Looking::new(self.file.clone(), jiff::tz::TimeZone::system()), self.clone());
        let keeper = Keeper::open(&self.file.node.state, "importer", self.around.log.clone());
        let gather = move || {
            let now_ms = (daemon.around.wall)();
            let known = daemon.node.pull_backups();
            let name = |pin: &Pin| {
                known
                    .iter()
                    .find(|known| known.pin == *pin)
                    .map_or_else(|| pin.to_string(), |known| known.address.clone())
            };
            let captured = |dataset: &Dataset| looking.holding(&dataset.name, now_ms).ok().flatten()?.captured_ms();
            keeper.note(&daemon.contacts(), &daemon.pulls.facts(), &name, &captured, now_ms);
            looking.look(now_ms)
        };
        Look {
            daemon: "importer",
            host: self.file.node.name.clone(),
            state: self.file.node.state.clone(),
            alert: self.file.alert.clone(),
            // Whoever exports pings: one host for each dataset.
            pings: Default::default(),
            every,
            wall: self.around.wall.clone(),
            gather: Arc::new(gather),
            newest: Newest::new(every),
            log: self.around.log.clone(),
        }
    }

    pub fn pulls(&self) -> &Pulls {
        &self.pulls
    }
}
