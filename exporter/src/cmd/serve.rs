//! `exporter serve`: the daemon, until it is asked to end.

use super::link_failure;
use crate::node;
use crate::serve::{Around, Daemon};
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::tell;
use link::client::Deadlines;
use link::identity::Identity;
use link::message::{EXPORTER_HEALTH, EXPORTER_PORT};
use link::running::{Alone, until_asked_to_end};
use link::server::{Limits, plain};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Debug, Args)]
pub struct Serve {}

impl Serve {
    pub fn run(self, config: &Path) -> Result<Status, Failure> {
        let file = NodeFile::open(config)?;
        let state = &file.node.state;
        let Some(_alone) = Alone::take(state, "exporter").map_err(link_failure)? else {
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
            let listener = bind(SocketAddr::new(listen, EXPORTER_PORT)).await?;
            let plainly = bind(SocketAddr::new(health, EXPORTER_HEALTH)).await?;
            let router = axum::Router::new().route("/live", axum::routing::get(|| async { "alive\n" }));
            tokio::spawn(plain(plainly, router, stop.clone()));
            tell(format_args!("exporter serves at {listen}:{}", EXPORTER_PORT));
            Daemon::new(file, identity, around).run(listener, stop).await.map_err(link_failure)
        })?;
        Ok(Status::Done)
    }
}
