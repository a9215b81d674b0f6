//! Waiting until every pull-backup holds what was exported. Where no daemon serves the spool, this process does meanwhile.

use crate::announce::announce;
use crate::spool::not_held;
use console::exit::Failure;
use console::node_file::NodeFile;
use link::client::Deadlines;
use link::identity::Identity;
use link::lent::Dialling;
use link::message::EXPORTER_PORT;
use link::node::Node;
use link::running::Alone;
use link::server::{Limits, Server};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// A dataset, and the snapshot of it that is to be held, by name.
pub type News = (String, String);

/// How often it is looked where a daemon hears what is held.
const LOOK: Duration = Duration::from_millis(200);

/// Whether a daemon serves this node's spool.
pub fn is_served(file: &NodeFile) -> Result<bool, Failure> {
    Ok(Alone::take(&file.node.state, "exporter").map_err(crate::cmd::link_failure)?.is_none())
}

/// Waits, no longer than `limit`, for all pull-backups or for `only` one. Who lacks what then, a line each.
pub fn until_pulled(file: &NodeFile, news: &[News], only: Option<&str>, limit: Duration, now: fn() -> u64) -> Result<Vec<String>, Failure> {
    let alone = Alone::take(&file.node.state, "exporter").map_err(crate::cmd::link_failure)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let (stop, stopped) = watch::channel(false);
    let heard = Arc::new(Notify::new());
    let server = match &alone {
        Some(_) => Some(runtime.block_on(serve(file, heard.clone(), stopped, now))?),
        None => None,
    };
    let datasets: Vec<&str> = news.iter().map(|(dataset, _)| dataset.as_str()).collect();
    announce(file, &datasets);
    let all_held = async {
        while !lacking(file, news, only).is_empty() {
            // What a daemon hears stands in files only.
            let _ = timeout(LOOK, heard.notified()).await;
        }
    };
    let _ = runtime.block_on(async { timeout(limit, all_held).await });
    stop.send_replace(true);
    if let Some(server) = server {
        // Answers under way end with it.
        let _ = runtime.block_on(async { timeout(Duration::from_secs(5), server).await });
    }
    Ok(lacking(file, news, only))
}

fn lacking(file: &NodeFile, news: &[News], only: Option<&str>) -> Vec<String> {
    let of = |(dataset, snapshot): &News| {
        let mut addresses = not_held(file, dataset, snapshot);
        addresses.retain(|address| only.is_none_or(|only| only == address));
        (!addresses.is_empty()).then(|| format!("dataset {dataset}: {} does not hold it yet", addresses.join(" and ")))
    };
    news.iter().filter_map(of).collect()
}

async fn serve(
    file: &NodeFile,
    heard: Arc<Notify>,
    stop: watch::Receiver<bool>,
    now: fn() -> u64,
) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let identity = Identity::open_or_make(&file.node.state).map_err(crate::cmd::link_failure)?;
    let node = Node::new(&file.node.state, &file.cluster, Arc::new(now), Box::new(|_| ()), Box::new(move |_| heard.notify_one()));
    let (node, allow, limits) = (Arc::new(node), file.node.allow.clone(), Limits::default());
    let router = link::routes::routes(node.clone(), limits.bounds);
    if file.node.dials_out {
        let dialling = Dialling {
            node,
            identity: Arc::new(identity),
            router,
            deadlines: Deadlines::default(),
            limits,
            clock: Arc::new(now),
            chance: Arc::new(|| u64::from_le_bytes(archive::sign::random())),
            tell: Arc::new(console::output::tell),
        };
        return Ok(tokio::spawn(dialling.run(stop)));
    }
    let server = Server {
        tls: link::tls::server(&identity).map_err(crate::cmd::link_failure)?,
        shelf: node,
        router,
        limits,
        allow: Arc::new(move |address| allow.contains(address)),
    };
    let address = SocketAddr::new(file.node.listens(), EXPORTER_PORT);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!("the spool cannot be served at {address}: {error}"))
            .hint("is another program there? See `listen` in [node]")
    })?;
    Ok(tokio::spawn(server.serve(listener, stop)))
}
