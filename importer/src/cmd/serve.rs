//! `importer serve`: the daemon, until it is asked to end.

use crate::import::Imports;
use crate::serve::Daemon;
use crate::takeover::Beginning;
use crate::takeover::orders::{DAEMON, Orders, Question};
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::place;
use link::identity::Identity as Ours;
use link::message::{IMPORTER_HEALTH, IMPORTER_PORT};
use link::running::{Alone, until_asked_to_end};
use link::server::plain;
use lookup::Surroundings;
use lookup::open::Identity;
use standing::health::router;
use standing::log::{Log, Said};
use standing::look::{LOOK, pulse};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What is still asked of a daemon that ends has so long to end.
const END: Duration = Duration::from_secs(5);

/// Keeps a mirror of the cluster's datasets and imports what is new, until it is asked to end
#[derive(Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    pub means: Identity,
}

impl Serve {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        standing::memory::settle();
        let path = place::of(config.map(PathBuf::as_path), surroundings.config.as_deref(), place::NODE);
        let file = super::open(config, surroundings)?;
        let state = &file.node.state;
        let Some(alone) = Alone::take(state, "importer").map_err(super::failure)? else {
            return Err(Failure::refused(format!("another `importer serve` runs on {}", state.display()))
                .hint("end that one first, or give this one a state folder of its own"));
        };
        let imports = Imports { patience: Duration::ZERO, ..super::imports(&file, &self.means)? };
        let identity = Ours::open_or_make(state).map_err(super::failure)?;
        let around = super::around(Log::stderr(Arc::new(super::now_ms)));
        let (log, alone) = (around.log.clone(), Arc::new(alone));
        let runtime = super::runtime()?;
        let ended = runtime.block_on(async {
            let stop = until_asked_to_end().map_err(|error| Failure::failed(format!("cannot take signals: {error}")))?;
            let listen = file.node.listens();
            let health = file.node.listen.filter(IpAddr::is_loopback).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let bind = |address: SocketAddr| async move {
                TcpListener::bind(address).await.map_err(|error| {
                    Failure::failed(format!("cannot listen at {address}: {error}")).hint("is another program there? See `listen` in [node]")
                })
            };
            let listener = bind(SocketAddr::new(listen, IMPORTER_PORT)).await?;
            let plainly = bind(SocketAddr::new(health, IMPORTER_HEALTH)).await?;
            let daemon = Daemon::new(file.clone(), identity, imports, around);
            let look = daemon.looking(LOOK);
            let (taking, more) = match &file.takeover {
                None => (None, axum::Router::new()),
                Some(takeover) => {
                    let beginning = Beginning {
                        file: file.clone(),
                        takeover: takeover.clone(),
                        config: path,
                        identity: Ours::open_or_make(&file.node.state).map_err(super::failure)?,
                        daemon: daemon.clone(),
                        log: log.clone(),
                        runtime: tokio::runtime::Handle::current(),
                        stop: stop.clone(),
                    };
                    let running = tokio::task::block_in_place(|| beginning.begin())?;
                    let orders = running.orders.clone();
                    tokio::spawn(answer(file.clone(), orders.clone(), log.clone(), stop.clone()));
                    (Some(running), crate::takeover::plainly::router(orders, crate::takeover::plainly::age(&file, &look.wall)))
                }
            };
            tokio::spawn(plain(plainly, router(look.newest.clone()).merge(more), stop.clone()));
            tokio::spawn(pulse(alone.clone(), look.wall.clone(), stop.clone()));
            let looking = tokio::spawn(look.run(stop.clone()));
            log.say(Said::info("serves", format!("importer serves at {listen}:{IMPORTER_PORT}")));
            daemon.run(listener, stop).await.map_err(super::failure)?;
            if let Some(running) = taking {
                tokio::task::block_in_place(|| running.end());
            }
            // Alerts under way have their bound.
            let _ = looking.await;
            Ok::<(), Failure>(())
        });
        runtime.shutdown_timeout(END);
        ended.map(|()| Status::Done)
    }
}

/// Answers the commands of this host.
async fn answer(file: NodeFile, orders: Arc<Orders>, log: Log, stop: watch::Receiver<bool>) {
    let answered = link::control::serve(
        &file.node.state,
        DAEMON,
        Arc::new(move |question: Question, say: &dyn Fn(String)| orders.answer(question, say)),
        stop,
    );
    if let Err(error) = answered.await {
        log.say(Said::error("takeover", format!("commands are not answered: {}", link::pull::chain(&error))));
    }
}
