//! `importer serve`: the daemon, until it is asked to end.

use crate::serve::Daemon;
use clap::Args;
use console::exit::{Failure, Status};
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
use tokio::net::TcpListener;

/// Keeps a mirror of the cluster's datasets and imports what is new, until it is asked to end
#[derive(Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    pub means: Identity,
}

impl Serve {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        standing::memory::settle();
        let file = super::open(config, surroundings)?;
        let state = &file.node.state;
        let Some(alone) = Alone::take(state, "importer").map_err(super::failure)? else {
            return Err(Failure::refused(format!("another `importer serve` runs on {}", state.display()))
                .hint("end that one first, or give this one a state folder of its own"));
        };
        let imports = super::imports(&file, &self.means)?;
        let identity = Ours::open_or_make(state).map_err(super::failure)?;
        let around = super::around(Log::stderr(Arc::new(super::now_ms)));
        let (log, alone) = (around.log.clone(), Arc::new(alone));
        let runtime = super::runtime()?;
        runtime.block_on(async {
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
            let daemon = Daemon::new(file, identity, imports, around);
            let look = daemon.looking(LOOK);
            tokio::spawn(plain(plainly, router(look.newest.clone()), stop.clone()));
            tokio::spawn(pulse(alone.clone(), look.wall.clone(), stop.clone()));
            let looking = tokio::spawn(look.run(stop.clone()));
            log.say(Said::info("serves", format!("importer serves at {listen}:{IMPORTER_PORT}")));
            daemon.run(listener, stop).await.map_err(super::failure)?;
            // Alerts under way have their bound.
            let _ = looking.await;
            Ok::<(), Failure>(())
        })?;
        Ok(Status::Done)
    }
}
