//! `serve`: the daemon, until it is asked to end.

use crate::cmd::epoch::Shape;
use crate::cmd::init::RECEIPT_KEY;
use crate::reigns::Ledger;
use crate::serve::{Around, Daemon};
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Args;
use console::exit::{Failure, Status};
use console::place;
use console::pull_backup_file::PullBackupFile;
use link::client::Deadlines;
use link::identity::{Identity, signing_key};
use link::running::{Alone, until_asked_to_end};
use link::server::{Limits, plain};
use lookup::open::Surroundings;
use standing::health::router;
use standing::log::{Log, Said};
use standing::look::{LOOK, pulse};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Pulls what nodes export, and offers it to importers, until it is asked to end
#[derive(Args, Debug)]
pub struct Serve {
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Serve {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        standing::memory::settle();
        let path = place::of(self.config.as_deref(), surroundings.config.as_deref(), place::PULL_BACKUP);
        let file = PullBackupFile::open(&path)?;
        let alone = Alone::take(&file.state, "pull-backup").map_err(super::failure)?;
        let Some(alone) = alone else {
            return Err(Failure::refused(format!("another `pull-backup serve` runs on {}", file.state.display()))
                .hint("end that one first, or give this one a state folder of its own"));
        };
        let identity = Identity::open_or_make(&file.state).map_err(super::failure)?;
        let receipt = signing_key(&file.state, RECEIPT_KEY).map_err(super::failure)?;
        let around = Around {
            clock: Arc::new(super::now_ms),
            chance: Arc::new(|| u64::from_le_bytes(archive::sign::random())),
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            every: Duration::from_secs(5),
            zone: surroundings.now.time_zone().clone(),
            log: Log::stderr(Arc::new(super::now_ms)),
        };
        let (log, alone) = (around.log.clone(), Arc::new(alone));
        let runtime = super::runtime()?;
        runtime.block_on(async {
            let stop = until_asked_to_end().map_err(|error| Failure::failed(format!("cannot take signals: {error}")))?;
            let bind = |address| async move {
                TcpListener::bind(address).await.map_err(|error| {
                    Failure::failed(format!("cannot listen at {address}: {error}"))
                        .hint("is another program there? See `listen` and `health`")
                })
            };
            let (listener, health) = (bind(file.listen).await?, bind(file.health).await?);
            let daemon = Daemon::new(&file, identity, receipt, around);
            let look = daemon.looking(&file, LOOK);
            let ledger = Ledger::new(&file.state, &file.store);
            tokio::spawn(plain(health, router(look.newest.clone()).merge(history(ledger)), stop.clone()));
            tokio::spawn(pulse(alone.clone(), look.wall.clone(), stop.clone()));
            let looking = tokio::spawn(look.run(stop.clone()));
            log.say(Said::info("serves", format!("pull-backup serves at {}", file.listen)));
            daemon.run(listener, stop).await.map_err(super::failure)?;
            // Alerts under way have their bound.
            let _ = looking.await;
            Ok::<(), Failure>(())
        })?;
        Ok(Status::Done)
    }
}

/// `/history`: whose epochs they were and are, as `epoch show --json` has it.
fn history(ledger: Ledger) -> Router {
    let answer = move || async move {
        let shape = tokio::task::spawn_blocking(move || Shape::of(&ledger, None)).await;
        match shape {
            Ok(Ok(shape)) => axum::Json(shape).into_response(),
            Ok(Err(error)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", link::pull::chain(&error))).into_response(),
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    Router::new().route("/history", get(answer))
}
