//! `importer serve`: the daemon, until it is asked to end.

use crate::serve::{Around, Daemon};
use clap::Args;
use console::exit::{Failure, Status};
use console::output::tell;
use link::client::Deadlines;
use link::identity::{Identity, signing_key};
use link::membership::NODE_KEY;
use link::message::{IMPORTER_HEALTH, IMPORTER_PORT};
use link::running::{Alone, until_asked_to_end};
use link::server::{Limits, plain};
use lookup::Surroundings;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Keeps a mirror of the cluster's datasets, until it is asked to end
#[derive(Args, Debug)]
pub struct Serve {}

fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a command is where the clock is read")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Serve {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let state = &file.node.state;
        let Some(_alone) = Alone::take(state, "importer").map_err(super::failure)? else {
            return Err(Failure::refused(format!("another `importer serve` runs on {}", state.display()))
                .hint("end that one first, or give this one a state folder of its own"));
        };
        let receipt = signing_key(state, NODE_KEY).map_err(super::failure)?;
        let identity = Identity::open_or_make(state).map_err(super::failure)?;
        let around = Around {
            wall: Arc::new(now_ms),
            chance: Arc::new(|| u64::from_le_bytes(archive::sign::random())),
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            every: Duration::from_secs(5),
            tell: Arc::new(tell),
        };
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
            Daemon::new(file, identity, receipt, around).run(listener, stop).await.map_err(super::failure)
        })?;
        Ok(Status::Done)
    }
}
