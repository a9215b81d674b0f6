//! `exporter serve`: the daemon, until it is asked to end.

use super::link_failure;
use crate::node;
use crate::serve::{Around, Daemon};
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use link::client::Deadlines;
use link::identity::Identity;
use link::message::{EXPORTER_HEALTH, EXPORTER_PORT};
use link::running::{Alone, until_asked_to_end};
use link::server::{Limits, plain};
use standing::health::router;
use standing::log::{Log, Said};
use standing::look::{LOOK, pulse};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Debug, Args)]
pub struct Serve {}

impl Serve {
    pub fn run(self, config: &Path) -> Result<Status, Failure> {
        standing::memory::settle();
        let file = NodeFile::open(config)?;
        let state = &file.node.state;
        let Some(alone) = Alone::take(state, "exporter").map_err(link_failure)? else {
            return Err(Failure::refused(format!("another `exporter serve` runs on {}", state.display()))
                .hint("end that one first, or give this one a state folder of its own"));
        };
        node::signer(state)?;
        let identity = Identity::open_or_make(state).map_err(link_failure)?;
        let around = Around {
            wall: Arc::new(super::run::now_ms),
            chance: Arc::new(|| u64::from_le_bytes(archive::sign::random())),
            zone: jiff::tz::TimeZone::system(),
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            log: Log::stderr(Arc::new(super::run::now_ms)),
        };
        let (log, alone) = (around.log.clone(), Arc::new(alone));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
        runtime.block_on(async {
            let stop = until_asked_to_end().map_err(|error| Failure::failed(format!("cannot take signals: {error}")))?;
            let listen = file.node.listens();
            let health = file.node.listen.filter(IpAddr::is_loopback).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let bind = |address: SocketAddr| async move {
                TcpListener::bind(address).await.map_err(|error| {
                    Failure::failed(format!("cannot listen at {address}: {error}")).hint("is another program there? See `listen` in [node]")
                })
            };
            let listener = bind(SocketAddr::new(listen, EXPORTER_PORT)).await?;
            let plainly = bind(SocketAddr::new(health, EXPORTER_HEALTH)).await?;
            let daemon = Daemon::new(file, identity, around);
            let look = daemon.looking(LOOK);
            tokio::spawn(plain(plainly, router(look.newest.clone()), stop.clone()));
            tokio::spawn(pulse(alone.clone(), look.wall.clone(), stop.clone()));
            let looking = tokio::spawn(look.run(stop.clone()));
            log.say(Said::info("serves", format!("exporter serves at {listen}:{EXPORTER_PORT}")));
            daemon.run(listener, stop).await.map_err(link_failure)?;
            // Alerts under way have their bound.
            let _ = looking.await;
            Ok::<(), Failure>(())
        })?;
        Ok(Status::Done)
    }
}
