//! Daemons on free ports, with folders of their own, that end with the test.

use archive::sign::Signer;
use archive::store::FolderStore;
use console::pull_backup_file::PullBackupFile;
use link::client::{Client, Deadlines};
use link::identity::Identity;
use link::invitation::{Invitation, Token};
use link::lent::Dialling;
use link::membership::Membership;
use link::message::{Join, Ports};
use link::node::Node;
use link::repositories::Dataset;
use link::server::{Limits, Server};
use pull_backup::following::Following;
use pull_backup::members::{FOLLOWERS, Invited};
use pull_backup::serve::{Around, Daemon};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tests::trial::Trial;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[expect(clippy::disallowed_methods, reason = "daemons under test go by the real clock")]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn clock() -> Arc<dyn Fn() -> u64 + Send + Sync> {
    Arc::new(now_ms)
}

/// Short, so that what hangs shows soon.
pub fn deadlines() -> Deadlines {
    let ms = Duration::from_millis;
    Deadlines { connect: ms(3000), answer: ms(3000), stretch: ms(1000), pace: ms(3000), least: 4096 }
}

/// Something that runs until it is dropped.
pub struct Runs {
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    runtime: Arc<Runtime>,
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            self.runtime.block_on(task).expect("a daemon ends in order");
        }
    }
}

pub struct World {
    pub runtime: Arc<Runtime>,
    pub folder: TempDir,
    /// Of what is begun from now on.
    pub limits: Limits,
}

/// A pull-backup and its daemon.
pub struct PullBackup {
    pub daemon: Arc<Daemon>,
    pub store: PathBuf,
    pub identity: Identity,
    pub file: PullBackupFile,
    pub runs: Runs,
}

/// A node, its spool, and what serves it.
pub struct Host {
    pub name: String,
    pub trial: Trial,
    pub state: PathBuf,
    pub runs: Runs,
    pub dataset: Dataset,
}

impl World {
    pub fn new() -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        World { runtime: Arc::new(runtime), folder: tempfile::tempdir().unwrap(), limits: Limits::default() }
    }

    pub fn start<F: Future<Output = ()> + Send + 'static>(&self, run: impl FnOnce(TcpListener, watch::Receiver<bool>) -> F) -> Runs {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = self.runtime.spawn(run(listener, stopped));
        Runs { address, stop, task: Some(task), runtime: self.runtime.clone() }
    }

    pub fn pull_backup(&self, name: &str) -> PullBackup {
        self.pull_backup_with(name, "", clock())
    }

    /// One with these lines in its configuration, that goes by this clock.
    pub fn pull_backup_with(&self, name: &str, more: &str, time: pull_backup::serve::Clock) -> PullBackup {
        let folder = self.folder.path().join(name);
        let (state, store) = (folder.join("state"), folder.join("archive"));
        std::fs::create_dir_all(&store).unwrap();
        let text = format!("state = {state:?}\nstore = {{ path = {store:?} }}\n{more}");
        let file = PullBackupFile::parse(&text, &folder.join("pull-backup.toml")).unwrap();
        let identity = Identity::open_or_make(&state).unwrap();
        let around = Around {
            clock: time,
            chance: Arc::new(|| 500),
            deadlines: deadlines(),
            limits: self.limits,
            every: Duration::from_millis(100),
            zone: jiff::tz::TimeZone::UTC,
            log: standing::Log::to(true, clock(), Arc::new(|_| ())),
        };
        let daemon = Daemon::new(&file, Identity::open_or_make(&state).unwrap(), Signer::from_seed(&[9; 32]), around);
        let running = daemon.clone();
        let runs = self.start(|listener, stop| async move { running.run(listener, stop).await.expect("it runs") });
        PullBackup { daemon, store, identity, file, runs }
    }

    /// A node with an empty spool; it has not joined yet.
    pub fn host(&self, name: &str) -> Host {
        self.host_in(name, name, |server, stop, listener| server.serve(listener, stop))
    }

    /// A node that nobody can reach: it lends connections.
    pub fn host_that_lends(&self, name: &str, folder: &str) -> Host {
        let (state, limits) = (self.folder.path().join(folder), self.limits);
        self.host_in(name, folder, move |server, stop, closed| {
            drop(closed);
            let node = Node::new(&state, tests::trial::CLUSTER, clock(), Box::new(|_| ()), Box::new(|_| ()));
            let lending = Dialling {
                node: Arc::new(node),
                identity: Arc::new(Identity::open_or_make(&state).unwrap()),
                router: server.router,
                deadlines: deadlines(),
                limits,
                clock: clock(),
                chance: Arc::new(|| 500),
                tell: Arc::new(|_| ()),
            };
            lending.run(stop)
        })
    }

    fn host_in<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &str,
        folder: &str,
        run: impl FnOnce(Server, watch::Receiver<bool>, TcpListener) -> F,
    ) -> Host {
        let state = self.folder.path().join(folder);
        let dataset = Dataset { cluster: tests::trial::CLUSTER.into(), name: tests::trial::DATASET.into() };
        let spool = state.join("datasets").join(&dataset.name).join("repository");
        std::fs::create_dir_all(&spool).unwrap();
        let mut trial = Trial::with(Arc::new(FolderStore::open(&spool).unwrap()), true);
        trial.options.clock = clock();
        let node = Arc::new(Node::new(&state, &dataset.cluster, clock(), Box::new(|_| ()), Box::new(|_| ())));
        let server = Server {
            tls: link::tls::server(&Identity::open_or_make(&state).unwrap()).unwrap(),
            shelf: node.clone(),
            router: link::routes::routes(node.clone(), self.limits.bounds),
            limits: self.limits,
            allow: Arc::new(|_| true),
        };
        let runs = self.start(|listener, stop| run(server, stop, listener));
        Host { name: name.into(), trial, state, runs, dataset }
    }

    /// Invites the host and has it join, as being reached at this port; 0 is nowhere.
    pub fn join(&self, host: &Host, at: &PullBackup, port: u16) -> link::Result<()> {
        self.join_with(host, at, at.invites(host, None), port)
    }

    pub fn join_with(&self, host: &Host, at: &PullBackup, token: Token, port: u16) -> link::Result<()> {
        self.join_as(host, at, token, port, &host.dataset.cluster)
    }

    pub fn join_as(&self, host: &Host, at: &PullBackup, token: Token, port: u16, cluster: &str) -> link::Result<()> {
        self.join_by(host, at, token, port, cluster, at.runs.address)
    }

    /// The same on a way of its own.
    pub fn join_by(&self, host: &Host, at: &PullBackup, token: Token, port: u16, cluster: &str, by: SocketAddr) -> link::Result<()> {
        let invitation = Invitation { address: by.to_string(), pin: at.identity.pin, token, expires: 0 };
        let join = Join {
            token: token.reveal(),
            cluster: cluster.into(),
            name: host.name.clone(),
            signing: host.trial.options.signer.public().to_string(),
            ports: Ports { exporter: (port > 0).then_some(port), ..Ports::default() },
            hosts: vec![],
        };
        let identity = Identity::open_or_make(&host.state).unwrap();
        self.runtime.block_on(Membership::join(&host.state, &identity, &invitation, join)).map(drop)
    }

    /// One pull-backup follows another from now on.
    pub fn follows(&self, second: &PullBackup, first: &PullBackup, called: &str) -> link::Result<()> {
        let token = Token::new();
        let invited = Invited { cluster: FOLLOWERS.into(), name: called.into(), active: None, expires: now_ms() / 1000 + 60 };
        first.daemon.members().invite(&token, &invited).unwrap();
        let invitation = Invitation { address: first.runs.address.to_string(), pin: first.identity.pin, token, expires: 0 };
        let receipt = second.daemon.pulls().receipt();
        let file = PullBackupFile { listen: second.runs.address, ..second.file.clone() };
        self.runtime.block_on(Following::join(&file, &second.identity, receipt, &invitation)).map(drop)
    }

    pub fn client(&self, identity: &Identity, at: SocketAddr, pin: link::identity::Pin) -> Client {
        Client::dial(&at.to_string(), identity, pin).unwrap().with(deadlines(), None)
    }
}

impl PullBackup {
    pub fn invites(&self, host: &Host, active: Option<bool>) -> Token {
        let token = Token::new();
        let (cluster, name) = (host.dataset.cluster.clone(), host.name.clone());
        let invited = Invited { cluster, name, active, expires: now_ms() / 1000 + 60 };
        self.daemon.members().invite(&token, &invited).unwrap();
        token
    }

    /// Names of the snapshots that it holds.
    pub fn snapshots(&self, dataset: &Dataset) -> Vec<String> {
        let entries = std::fs::read_dir(self.repository(dataset).join("snapshots")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What it says of why something is not here, as to datasets and as to hosts.
    pub fn troubles(&self) -> Vec<String> {
        let contacts = self.daemon.contacts().into_iter().filter_map(|(_, contact)| contact.trouble);
        contacts
            .chain(self.daemon.pulls().facts().into_iter().filter_map(|(.., fact)| fact.trouble))
            .collect()
    }

    pub fn repository(&self, dataset: &Dataset) -> PathBuf {
        self.store.join(&dataset.cluster).join(&dataset.name)
    }
}
