//! `importer serve`: the daemon, until it is asked to end.

use crate::serve::Daemon;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::tell;
use link::identity::Identity as Ours;
use link::message::{IMPORTER_HEALTH, IMPORTER_PORT};
use link::running::{Alone, until_asked_to_end};
use link::server::plain;
use lookup::Surroundings;
use lookup::open::Identity;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use tokio::net::TcpListener;

/// Keeps a mirror of the cluster's datasets and imports what is new, until it is asked to end
#[derive(Args, Debug)]
pub struct Serve {
    #[command(flatten)]
    pub means: Identity,
}

impl Serve {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let state = &file.node.state;
        let Some(_alone) = Alone::take(state, "importer").map_err(super::failure)? else {
            return Err(Failure::refused(format!("another `importer serve` runs on {}", state.display()))
                .hint("end that one first, or give this one a state folder of its own"));
        };
        let imports = super::imports(&file, &self.means)?;
        let identity = Ours::open_or_make(state).map_err(super::failure)?;
        let around = super::around();
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
            let listener = bind(SocketAddr::new(listen, IMPORTER_PORT)).await?;
            let plainly = bind(SocketAddr::new(health, IMPORTER_HEALTH)).await?;
            let router = axum::Router::new().route("/live", axum::routing::get(|| async { "alive\n" }));
            tokio::spawn(plain(plainly, router, stop.clone()));
            tell(format_args!("importer serves at {listen}:{IMPORTER_PORT}"));
            Daemon::new(file, identity, imports, around).run(listener, stop).await.map_err(super::failure)
        })?;
        Ok(Status::Done)
    }
}
