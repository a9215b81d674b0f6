//! What load balancers ask without keys, on the plain health address: `/primary`, `/standby?lag=10m`, `/cluster`.
//!
//! `/primary` is 200 only while this node is active, its gate may be open and its lease lives; everything that is not known is 503.

use crate::imported::Imported;
use crate::takeover::orders::{Orders, Stands};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use console::node_file::NodeFile;
use election::message::{Outside, Standing};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// What it knows besides: how old the data is that this node imported.
pub type Age = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// How this node stands, and where it sees the addresses and names.
#[derive(Serialize)]
struct Cluster {
    #[serde(flatten)]
    stands: Stands,
    #[serde(flatten)]
    outside: Outside,
}

#[derive(Clone)]
struct Asked {
    orders: Arc<Orders>,
    age: Age,
}

/// By what was imported last, of the dataset that is furthest behind.
pub fn age(file: &NodeFile, wall: &Arc<dyn Fn() -> u64 + Send + Sync>) -> Age {
    let (file, wall) = (file.clone(), wall.clone());
    Arc::new(move || {
        let captured = |dataset: &str| Imported::open(&file.node.state, dataset).ok()?.snapshot_captured_ms();
        let oldest = file.datasets.iter().map(|dataset| captured(&dataset.name)).collect::<Option<Vec<u64>>>()?;
        Some(Duration::from_millis(wall().saturating_sub(oldest.into_iter().min()?)))
    })
}

pub fn router(orders: Arc<Orders>, age: Age) -> Router {
    Router::new()
        .route("/primary", get(primary))
        .route("/standby", get(standby))
        .route("/cluster", get(cluster))
        .with_state(Asked { orders, age })
}

fn no(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

async fn primary(State(asked): State<Asked>) -> Response {
    let told = &asked.orders.told;
    match told.standing() {
        Standing::Active | Standing::Failsafe if !told.lease_left(link::boot::now()).is_zero() => "active\n".into_response(),
        standing => no(crate::takeover::words::standing(standing)),
    }
}

async fn standby(State(asked): State<Asked>, RawQuery(query): RawQuery) -> Response {
    let standing = asked.orders.told.standing();
    if standing != Standing::Ready {
        return no(crate::takeover::words::standing(standing));
    }
    let wanted = query.as_deref().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("lag=")));
    let Some(wanted) = wanted else { return "ready\n".into_response() };
    match (console::quantity::duration(wanted), (asked.age)()) {
        (Ok(most), Some(age)) if age <= most => "ready\n".into_response(),
        (Ok(_), Some(age)) => no(&format!("its data is {} s old", age.as_secs())),
        (Ok(_), None) => no("how old its data is is not known"),
        (Err(why), _) => (StatusCode::BAD_REQUEST, format!("lag: {why}\n")).into_response(),
    }
}

async fn cluster(State(asked): State<Asked>) -> Response {
    // What is read lies on a disk.
    let orders = asked.orders.clone();
    let stands = tokio::task::spawn_blocking(move || Cluster { stands: orders.stands(), outside: orders.paths.sights().words() }).await;
    stands.map_or_else(|_| no("unknown"), |stands| axum::Json(stands).into_response())
}
