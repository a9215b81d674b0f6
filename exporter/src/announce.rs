//! Telling pull-backups that there is something new. A hint: whoever does not hear it looks at its next interval, so nothing that fails here is an error.

use console::node_file::NodeFile;
use link::client::{Client, Deadlines};
use link::identity::Identity;
use link::membership::Membership;
use link::message::Notice;
use std::time::Duration;
use tokio::task::JoinSet;

/// A command that has done its work waits no longer than this for somebody to hear of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells all pull-backups that this node joined. It blocks, for a bounded time.
pub fn announce(file: &NodeFile, datasets: &[&str]) {
    let state = &file.node.state;
    let known = Membership::open(state).unwrap_or_default().pull_backups;
    if known.is_empty() || datasets.is_empty() {
        return;
    }
    let Ok(identity) = Identity::open_or_make(state) else { return };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let deadlines = Deadlines { connect: PATIENCE, answer: PATIENCE, stretch: PATIENCE, ..Deadlines::default() };
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for pull_backup in known.iter().filter(|known| known.cluster == file.cluster) {
            let Ok(client) = Client::dial(&pull_backup.address, &identity, pull_backup.pin) else { continue };
            let client = client.with(deadlines, None);
            let notices: Vec<Notice> = datasets
                .iter()
                .map(|dataset| Notice { cluster: file.cluster.clone(), dataset: (*dataset).to_owned() })
                .collect();
            tasks.spawn(async move {
                for notice in notices {
                    if client.post::<()>("/v1/notice", &notice).await.is_err() {
                        return;
                    }
                }
            });
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        // Who is slow hears of it later.
        let _ = tokio::time::timeout(PATIENCE, all).await;
    });
}
