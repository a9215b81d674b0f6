//! What takes long, each on a thread of its own beside the member's: activation, stopping, exports, and capturing what this node wrote.
//!
//! A later order ends an earlier one: an activation looks between its steps whether it is still wanted, and stopping waits for none. What ended is told to the member; what failed
//! is told to people as well.

mod exports;

use crate::import::{Did, For};
use crate::imported::Imported;
use crate::pause::wait;
use crate::serve::Daemon;
use crate::takeover::acting::Acting;
use crate::takeover::checks;
use crate::takeover::first::First;
use crate::takeover::kept::{Before, Reigned};
use crate::takeover::looking::{Measured, imported};
use crate::takeover::seat::Inbox;
use crate::takeover::served;
use crate::takeover::told::{Event, Told};
use console::exit::Failure;
use console::node_file::{Check, NodeFile};
use election::member::Input;
use election::{Epoch, Position, Time};
use link::boot;
use standing::log::{Log, Said};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// A start that takes longer is looked at in between, and goes on.
const EACH_START: Duration = Duration::from_secs(10);
/// A stop that failed is tried again with so much time.
const STOP_AGAIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
const HOOKS: Duration = Duration::from_secs(30);

pub struct Around {
    pub acting: Arc<Acting>,
    pub daemon: Arc<Daemon>,
    pub config: PathBuf,
    pub checks: Vec<Check>,
    /// An activation takes no longer.
    pub activation: Duration,
    pub inbox: Inbox,
    pub told: Arc<Told>,
    pub log: Log,
    pub runtime: Handle,
}

struct Inside {
    around: Around,
    file: Arc<NodeFile>,
    epoch: AtomicU64,
    /// The last order's number.
    order: AtomicU64,
    capturing: AtomicBool,
    /// The order after which the tail of a reign that may go on was captured.
    captured: AtomicU64,
    bringing: AtomicBool,
    first: First,
}

#[derive(Clone)]
pub struct Doing(Arc<Inside>);

impl Doing {
    pub fn new(around: Around, file: NodeFile) -> Doing {
        Doing(Arc::new(Inside {
            around,
            file: Arc::new(file),
            epoch: AtomicU64::new(0),
            order: AtomicU64::new(0),
            capturing: AtomicBool::new(false),
            captured: AtomicU64::new(u64::MAX),
            bringing: AtomicBool::new(false),
            first: First::default(),
        }))
    }

    /// The epoch of acts from now on: the highest that this node knows.
    pub fn reigning(&self, epoch: u64) {
        self.0.epoch.fetch_max(epoch, Ordering::SeqCst);
    }

    pub fn epoch(&self) -> u64 {
        self.0.epoch.load(Ordering::SeqCst)
    }

    pub fn file(&self) -> &Arc<NodeFile> {
        &self.0.file
    }

    pub fn inbox(&self) -> &Inbox {
        &self.0.around.inbox
    }

    fn order(&self) -> u64 {
        self.0.order.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn beside(&self, name: &str, work: impl FnOnce(&Arc<Inside>) + Send + 'static) {
        let inside = self.0.clone();
        let spawned = std::thread::Builder::new().name(name.into()).spawn(move || work(&inside));
        if let Err(error) = spawned {
            self.0.trouble(format!("cannot begin: {error}"));
        }
    }

    pub fn start(&self, epoch: Epoch, base: Option<Position>, adopt: bool) {
        self.reigning(epoch.0);
        let order = self.order();
        self.beside("start", move |inside| {
            let began = boot::now();
            inside
                .around
                .log
                .say(Said::info("takeover", format!("epoch {epoch} begins here: what is newer is imported, then services start")));
            let until = began + inside.around.activation;
            let goes_on = || inside.order.load(Ordering::SeqCst) == order && boot::now() < until;
            let outcome = inside.start(epoch, base.as_ref(), adopt, &goes_on);
            let input = match outcome {
                Ok(()) => {
                    let measured = Measured { activation_ms: boot::now().since(began).as_millis() as u64 };
                    measured.keep(&inside.file.node.state);
                    Input::Started { epoch }
                }
                Err(failure) => {
                    inside.trouble(format!("epoch {epoch} cannot begin here: {failure}"));
                    Input::StartFailed { epoch }
                }
            };
            inside.around.inbox.put(input);
        });
    }

    pub fn stop(&self, kill_at: Time) {
        self.order();
        self.0.first.ends();
        let epoch = self.epoch();
        self.beside("stop", move |inside| {
            inside.stop(epoch, kill_at);
            inside.around.log.say(Said::info("takeover", "services are stopped"));
            inside.around.inbox.put(Input::Stopped);
            inside.guard();
            for why in inside.around.acting.announce(epoch, false, HOOKS) {
                inside.trouble(why);
            }
        });
    }

    /// There is something newer, as the arbiter said.
    pub fn import(&self) {
        self.0.around.daemon.poke_all();
    }

    /// Makes what was here before this node took over the data again, once what it wrote is captured.
    pub fn bring_back(&self) {
        let state = &self.0.file.node.state;
        let (Ok(Some(before)), Ok(None)) = (Before::open(state), Reigned::open(state)) else { return };
        if self.0.bringing.swap(true, Ordering::SeqCst) {
            return;
        }
        self.beside("back", move |inside| {
            if let Err(why) = inside.back(&before) {
                inside.trouble(format!("what was here before is not the data again: {why}"));
                wait(Duration::from_secs(10));
            }
            inside.bringing.store(false, Ordering::SeqCst);
        });
    }

    pub fn announce(&self) {
        let epoch = self.epoch();
        self.beside("hooks", move |inside| {
            for why in inside.around.acting.announce(epoch, true, HOOKS) {
                inside.trouble(why);
            }
        });
    }

    /// Restarts the services where they are.
    pub async fn restart(&self) {
        let (inside, epoch) = (self.0.clone(), self.epoch());
        let done = tokio::task::spawn_blocking(move || {
            if let Err(failure) = inside.around.acting.restart(epoch, EACH_START) {
                inside.trouble(format!("the services were not restarted: {failure}"));
            }
        });
        // A check says how it went.
        let _ = done.await;
    }
}

impl Inside {
    fn trouble(&self, what: String) {
        self.around.log.say(Said::warn("takeover", &what));
        self.around.told.tell(Event::Trouble(what));
    }

    fn start(self: &Arc<Self>, epoch: Epoch, base: Option<&Position>, adopt: bool, goes_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        let state = &self.file.node.state;
        let over = || Failure::failed("it was broken off: the lease ended, or another order came");
        let reigned = Reigned { epoch: epoch.0 };
        // What runs here already, or ran in this very reign, has written: none of it may be imported over, whatever becomes of this.
        if adopt || base.is_none() {
            reigned.keep(state).map_err(crate::cmd::failure)?;
        }
        if adopt {
            Before::forget(state).map_err(crate::cmd::failure)?;
        }
        if let Some(base) = base.filter(|_| !adopt) {
            self.bring(base, goes_on)?;
            self.build_on_imports();
            let known = |dataset: &str| Imported::open(state, dataset).ok()?.snapshot;
            let names = self.file.datasets.iter().map(|dataset| &dataset.name);
            let snapshots = names.filter_map(|name| Some((name.clone(), known(name)?))).collect();
            let before = Before { epoch: epoch.0, snapshots };
            before.keep(state).map_err(crate::cmd::failure)?;
        }
        if !goes_on() {
            return Err(over());
        }
        served::lift(&self.file)?;
        reigned.keep(state).map_err(crate::cmd::failure)?;
        if !goes_on() {
            return Err(over());
        }
        self.around.acting.grant(epoch.0)?;
        self.around.acting.start(epoch.0, EACH_START, goes_on)?;
        self.well(goes_on)?;
        self.free(goes_on)
    }

    /// Imports until nothing of `base` is lacking. No import of the node's own is at work after it.
    fn bring(&self, base: &Position, goes_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        let mut last = None;
        loop {
            for dataset in &self.file.datasets {
                match self.around.daemon.bring(dataset, For::TakingOver) {
                    Ok(Did::NotHere(why)) => return Err(Failure::refused(why)),
                    Ok(_) => {}
                    Err(why) => last = Some(why),
                }
            }
            let (position, whole) = imported(&self.file);
            if whole && position.covers(base) && last.is_none() {
                return Ok(());
            }
            if !goes_on() {
                let why = last.unwrap_or_else(|| "what the last reign published did not arrive in time".into());
                return Err(Failure::failed(why));
            }
            last = None;
            self.around.daemon.poke_all();
            wait(PAUSE);
        }
    }

    /// Waits until all checks are good.
    fn well(&self, goes_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        for check in &self.around.checks {
            while let Err(why) = self.around.runtime.block_on(checks::ask(check, &self.file)) {
                if !goes_on() {
                    return Err(Failure::failed(why));
                }
                wait(PAUSE);
            }
        }
        Ok(())
    }

    /// Waits until nobody has the addresses any more, where waiting can help.
    fn free(&self, goes_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        let mut said = String::new();
        while let Err(error) = self.around.acting.addresses_are_free() {
            let why = link::pull::chain(&error);
            if error.kind() == recipes::Kind::Refuse || !goes_on() {
                return Err(Failure::failed(why));
            }
            // Whoever waits for this node to be active should know for what it waits.
            if why != said {
                self.trouble(format!("{why}; it is waited for"));
                said = why;
            }
            wait(PAUSE);
        }
        Ok(())
    }

    fn back(&self, before: &Before) -> Result<(), Failure> {
        for (name, snapshot) in &before.snapshots {
            // A dataset that is configured no more is nobody's data.
            let Some(dataset) = self.file.dataset(name) else { continue };
            self.around.daemon.imports().back_to(dataset, snapshot)?;
        }
        self.around
            .log
            .say(Said::info("takeover", "what was here before this node took over is the data again"));
        Before::forget(&self.file.node.state).map_err(crate::cmd::failure)
    }

    fn stop(&self, epoch: u64, kill_at: Time) {
        let mut within = kill_at.since(boot::now());
        while let Err(failure) = self.around.acting.stop(epoch, within) {
            self.trouble(format!("services are not stopped: {failure}"));
            wait(PAUSE);
            within = STOP_AGAIN;
        }
    }

    /// Nobody writes to databases of a node that is no more active.
    fn guard(&self) {
        for failure in served::guard(&self.file) {
            self.trouble(failure.to_string());
        }
    }
}
