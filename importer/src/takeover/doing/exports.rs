//! The exports that a change of roles asks for, beside the member's thread as everything else that takes long: the first ones of a reign, the last one, and what was written in one that is over.

use super::{Doing, Inside};
use crate::base::Bases;
use crate::pause::wait;
use crate::takeover::exporting::exporter;
use crate::takeover::kept::Reigned;
use crate::takeover::looking::exported;
use election::member::Input;
use election::{Epoch, Time};
use link::boot;
use standing::log::Said;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long an export may take that nobody waits for.
const LONG: Duration = Duration::from_secs(3600);

impl Doing {
    /// The first exports of a reign, at once where nothing is waited for; others follow by the exporter's own schedule.
    pub fn begin_exporting(&self) {
        self.beside("export", |inside| {
            let waiting = inside.first.begins();
            if waiting.is_empty() {
                return inside.export_first(&["run", "--for", "1s"]);
            }
            let free = inside.file.datasets.iter().filter(|dataset| !waiting.contains(&dataset.name));
            free.for_each(|dataset| inside.export_first(&["run", &dataset.name, "--for", "1s"]));
        });
    }

    /// The last export of a reign; what it wrote is captured when the pull-backup that decides holds that. Others pull it when they can.
    pub fn export(&self, epoch: Epoch, until: Time) {
        self.beside("export", move |inside| {
            let left = until.since(boot::now());
            let limit = format!("{}s", left.as_secs().max(1));
            match exporter(&inside.around.config, &["run", "--wait", "--arbiter", "--for", &limit], left + Duration::from_secs(5)) {
                Ok(()) => {
                    inside
                        .around
                        .log
                        .say(Said::info("takeover", format!("the last export of epoch {epoch} is held by the pull-backup that decides")));
                    inside.captured();
                }
                Err(why) => inside.trouble(format!("the last export did not end well: {why}; what it lacks stays on this host")),
            }
            inside.around.inbox.put(Input::Exported { epoch, position: exported(&inside.file) });
        });
    }

    /// Captures what this node wrote in a reign that is over, unless that is under way. Nothing is imported before it is done. One that may go on
    /// is captured once each time it was stopped, and what it writes next is to be captured again.
    pub fn capture(&self, over: bool) {
        let Ok(Some(reigned)) = Reigned::open(&self.0.file.node.state) else { return };
        let order = self.0.order.load(Ordering::SeqCst);
        let done = !over && self.0.captured.load(Ordering::SeqCst) == order;
        if done || self.0.capturing.swap(true, Ordering::SeqCst) {
            return;
        }
        self.beside("tail", move |inside| {
            let epoch = reigned.epoch.to_string();
            match exporter(&inside.around.config, &["run", "--tail", &epoch, "--for", "1s"], LONG) {
                Ok(()) => {
                    inside
                        .around
                        .log
                        .say(Said::info("takeover", format!("what this node wrote in epoch {epoch} is captured")));
                    if over {
                        inside.captured();
                        inside.around.daemon.poke_all();
                    }
                    inside.captured.store(order, Ordering::SeqCst);
                }
                Err(why) => {
                    let what = format!("what this node wrote in epoch {epoch} is not captured yet, and nothing is imported before: {why}");
                    inside.trouble(what);
                    wait(Duration::from_secs(10));
                }
            }
            inside.capturing.store(false, Ordering::SeqCst);
        });
    }
}

impl Inside {
    /// Holds back each dataset's first export until it has something to build on, which takes as long as it takes.
    pub(super) fn build_on_imports(self: &Arc<Self>) {
        let bases = Bases::hold(self.around.daemon.imports());
        self.first.making(bases.names());
        let names: Vec<_> = bases.names().map(str::to_owned).collect();
        let inside = self.clone();
        let made = move |dataset: &str| {
            if inside.first.made(dataset) {
                inside.export_first(&["run", dataset, "--for", "1s"]);
            }
        };
        let log = self.around.log.clone();
        let spawned = std::thread::Builder::new().name("base".into()).spawn(move || bases.make(&log, &made));
        if let Err(error) = spawned {
            for dataset in &names {
                self.first.made(dataset);
            }
            self.trouble(format!("cannot begin: {error}"));
        }
    }

    fn export_first(&self, arguments: &[&str]) {
        if let Err(why) = exporter(&self.around.config, arguments, LONG) {
            self.trouble(format!("the first export of this reign failed: {why}"));
        }
    }

    fn captured(&self) {
        if let Err(error) = Reigned::forget(&self.file.node.state) {
            self.trouble(link::pull::chain(&error));
        }
    }
}
