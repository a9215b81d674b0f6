//! The daemon: exports each dataset when it is due, offers the spool to the pull-backups that this node joined, and tells them when there is something new.
//!
//! Each dataset has a task of its own, so that a long export delays no other; so many at once. When an export was begun and how it ended is kept, so that a
//! daemon that was down catches up with one run and not with forty. What fails is tried again, sooner each time less.

use crate::export::export;
use crate::spool;
use crate::status::Looking;
use archive::export::{ExportReport, Outcome};
use console::node_file::{Dataset, NodeFile};
use link::client::{Client, Deadlines, Way};
use link::identity::{Identity, Pin};
use link::lent::Dialling;
use link::membership::Reign;
use link::message::Notice;
use link::node::Node;
use link::pull::chain;
use link::repositories::Dataset as Key;
use link::server::{Limits, Server};
use link::state_file;
use standing::health::Newest;
use standing::log::{Log, Said};
use standing::look::Look;
use standing::place::schedule;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch as tell};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use watch::clock::Clock;
use watch::timer::{Due, Past, Timer};

/// What a daemon is given besides its configuration.
#[derive(Clone)]
pub struct Around {
    /// Unix time in milliseconds.
    pub wall: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub chance: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub zone: jiff::tz::TimeZone,
    pub deadlines: Deadlines,
    pub limits: Limits,
    /// Hears what happens.
    pub log: Log,
}

pub struct Daemon {
    file: NodeFile,
    identity: Arc<Identity>,
    node: Arc<Node>,
    around: Around,
    began: Instant,
    at_once: Semaphore,
    clients: Mutex<HashMap<Pin, Arc<Client>>>,
    /// A pull-backup said what it holds, by dataset.
    reported: Arc<HashMap<String, Notify>>,
}

/// So many datasets are exported at once: an export uses all processors by itself.
const AT_ONCE: usize = 2;
/// The spool is looked at so often, whatever is heard.
const TIDY: Duration = Duration::from_secs(30);

impl Daemon {
    pub fn new(file: NodeFile, identity: Identity, around: Around) -> Arc<Daemon> {
        let rule = |dataset: &Dataset| Some((dataset.name.clone(), schedule(&dataset.schedule, &around.zone).ok()?.rule()));
        let rules = file.datasets.iter().filter_map(rule).collect();
        let reported: HashMap<String, Notify> = file.datasets.iter().map(|dataset| (dataset.name.clone(), Notify::new())).collect();
        let reported = Arc::new(reported);
        let of = reported.clone();
        let heard = Box::new(move |dataset: &Key| of.get(&dataset.name).into_iter().for_each(Notify::notify_one));
        let node = Node::new(&file.node.state, &file.cluster, around.wall.clone(), Box::new(|_| ()), heard)
            .with_rules(rules)
            .counting("exporter");
        Arc::new(Daemon {
            file,
            identity: Arc::new(identity),
            node: Arc::new(node),
            around,
            began: Instant::now(),
            at_once: Semaphore::new(AT_ONCE),
            clients: Mutex::default(),
            reported,
        })
    }

    /// Serves and exports until `stop` turns true; an export under way is finished.
    pub async fn run(self: &Arc<Self>, listener: TcpListener, stop: tell::Receiver<bool>) -> link::Result<()> {
        let allow = self.file.node.allow.clone();
        let server = Server {
            tls: link::tls::server(&self.identity)?,
            shelf: self.node.clone(),
            router: link::routes::routes(self.node.clone(), self.around.limits.bounds),
            limits: self.around.limits,
            allow: Arc::new(move |address| allow.contains(address)),
        };
        let mut tasks = JoinSet::new();
        if self.file.node.dials_out {
            tasks.spawn(self.dialling(server.router.clone()).run(stop.clone()));
        }
        tasks.spawn(server.serve(listener, stop.clone()));
        for dataset in &self.file.datasets {
            tasks.spawn(self.clone().look_after(dataset.clone(), stop.clone()));
            tasks.spawn(self.clone().keep_tidy(dataset.clone(), stop.clone()));
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    /// Behind NAT: the pull-backups ask over connections that are opened from here.
    fn dialling(&self, router: axum::Router) -> Dialling {
        let log = self.around.log.clone();
        Dialling {
            node: self.node.clone(),
            identity: self.identity.clone(),
            router,
            deadlines: self.around.deadlines,
            limits: self.around.limits,
            clock: self.around.wall.clone(),
            chance: self.around.chance.clone(),
            tell: Arc::new(move |why| log.say(Said::warn("lending", why))),
        }
    }

    fn clock(&self) -> Clock {
        let wall_ms = i64::try_from((self.around.wall)()).unwrap_or(i64::MAX);
        Clock { wall_ms, steady_ms: self.began.elapsed().as_millis() as u64 }
    }

    fn past(&self, dataset: &Dataset) -> PathBuf {
        self.file.node.state.join("datasets").join(&dataset.name).join("schedule.toml")
    }

    fn timer(&self, dataset: &Dataset) -> Result<Timer, String> {
        let schedule = schedule(&dataset.schedule, &self.around.zone).map_err(|error| error.to_string())?;
        let seed = format!("{}/{}/{}", self.file.cluster, self.file.node.name, dataset.name);
        let schedule = schedule.with_jitter(&seed, dataset.jitter);
        // What cannot be read counts as never having run: it is due at once.
        let past = state_file::read::<Past>(&self.past(dataset)).unwrap_or_default();
        Ok(Timer::open(schedule, past, self.clock()))
    }

    fn keep(&self, dataset: &Dataset, timer: &Timer) {
        if let Some(past) = timer.past()
            && let Err(error) = state_file::say(&self.past(dataset), &past)
        {
            self.around.log.say(Said::error("state", chain(&error)).dataset(&dataset.name));
        }
    }

    async fn look_after(self: Arc<Self>, dataset: Dataset, mut stop: tell::Receiver<bool>) {
        let mut timer = match self.timer(&dataset) {
            Ok(timer) => timer,
            Err(why) => return self.around.log.say(Said::error("schedule", why).dataset(&dataset.name)),
        };
        loop {
            if let Due::Now = timer.due(self.clock()) {
                timer.started(self.clock());
                self.keep(&dataset, &timer);
                let good = self.export(&dataset).await;
                timer.finished(self.clock(), good);
                self.keep(&dataset, &timer);
            }
            let wait = timer.due(self.clock()).wait().min(Duration::from_secs(30));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Whether it went well: a passive node that has nothing to export has not failed.
    async fn export(self: &Arc<Self>, dataset: &Dataset) -> bool {
        match Reign::open(&self.file.node.state) {
            Ok(Some(Reign { active: false, .. })) => return true,
            Ok(_) => {}
            Err(error) => {
                self.around.log.say(Said::error("export-failed", chain(&error)).dataset(&dataset.name));
                return false;
            }
        }
        if let Some(warning) = crate::certified::warning(&self.file) {
            self.around.log.say(Said::warn("signer", warning));
        }
        let _permit = self.at_once.acquire().await;
        let (daemon, of) = (self.clone(), dataset.clone());
        let done = tokio::task::spawn_blocking(move || {
            export(&daemon.file, &of, None, daemon.around.wall.clone()).map_err(|failure| failure.to_string())
        })
        .await;
        match done.map_err(|error| error.to_string()).flatten() {
            Ok((report, _)) => {
                self.say(dataset, &report);
                self.announce(dataset);
                self.reported[&dataset.name].notify_one();
                true
            }
            Err(why) => {
                self.around.log.say(Said::error("export-failed", why).dataset(&dataset.name));
                false
            }
        }
    }

    fn say(&self, dataset: &Dataset, report: &ExportReport) {
        if let Outcome::Snapshot { id, .. } = report.outcome {
            let text = format!("snapshot {}, {} bytes stored", &id.to_string()[..8], report.stored_bytes);
            self.around.log.say(Said::info("exported", text).dataset(&dataset.name));
        }
        for trouble in &report.troubles {
            let text = format!("{}: {}", archive::entry::display(&trouble.path), trouble.why);
            self.around.log.say(Said::warn("not-captured", text).dataset(&dataset.name));
        }
    }

    /// How this node stands, looked at so often.
    pub fn looking(&self, every: Duration) -> Look {
        let (looking, wall) = (Looking::new(self.file.clone(), self.around.zone.clone()), self.around.wall.clone());
        let node = self.node.clone();
        let ping = |dataset: &Dataset| Some((dataset.name.clone(), dataset.ping.clone()?));
        Look {
            daemon: "exporter",
            host: self.file.node.name.clone(),
            state: self.file.node.state.clone(),
            alert: self.file.alert.clone(),
            pings: self.file.datasets.iter().filter_map(ping).collect(),
            every,
            wall: self.around.wall.clone(),
            gather: Arc::new(move || {
                // Whoever cannot write that says so of what matters more.
                let _ = node.given().keep();
                looking.look(wall())
            }),
            newest: Newest::new(every),
            log: self.around.log.clone(),
        }
    }

    /// Tidies the spool when a pull-backup said what it holds, and at times: what nobody takes fills it as well.
    async fn keep_tidy(self: Arc<Self>, dataset: Dataset, mut stop: tell::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = timeout(TIDY, self.reported[&dataset.name].notified()) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            self.tidy(&dataset).await;
        }
    }

    /// Drops from the spool what everybody holds.
    async fn tidy(self: &Arc<Self>, dataset: &Dataset) {
        let (daemon, of) = (self.clone(), dataset.clone());
        let work =
            move || spool::tidy(&daemon.file, &of, &daemon.node.repositories, (daemon.around.wall)()).map_err(|error| error.to_string());
        let done = tokio::task::spawn_blocking(work).await;
        match done.map_err(|error| error.to_string()).flatten() {
            Ok(Some(found)) if found.is_near() || found.dropped > 0 => {
                let text = format!(
                    "the spool holds {} bytes of at most {}; {} snapshots wait for a pull-backup, {} went unheld",
                    found.bytes, found.bound, found.waiting, found.dropped
                );
                self.around.log.say(Said::warn("spool", text).dataset(&dataset.name));
            }
            Ok(_) => {}
            Err(why) => self.around.log.say(Said::warn("spool", format!("it was not tidied: {why}")).dataset(&dataset.name)),
        }
    }

    /// Tells every pull-backup; a hint, so nobody waits for it.
    fn announce(&self, dataset: &Dataset) {
        let notice = Notice { cluster: self.file.cluster.clone(), dataset: dataset.name.clone() };
        for client in self.clients() {
            let notice = notice.clone();
            tokio::spawn(async move { drop(client.post::<()>("/v1/notice", &notice).await) });
        }
    }

    fn clients(&self) -> Vec<Arc<Client>> {
        let known = self.node.pull_backups();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|pin, _| known.iter().any(|known| known.pin == *pin));
        for pull_backup in &known {
            if !clients.contains_key(&pull_backup.pin)
                && let Ok(tls) = link::tls::client(&self.identity, pull_backup.pin)
            {
                let way = Way::Dial { address: pull_backup.address.clone(), tls };
                let client = Client::new(&pull_backup.address, way, self.around.deadlines, None);
                clients.insert(pull_backup.pin, Arc::new(client));
            }
        }
        clients.values().cloned().collect()
    }
}
