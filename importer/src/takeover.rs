//! This node's part in takeover: the member of `election` as a thread that lives, and what it orders done on this host.
//!
//! `seat` runs the member: it alone steps it, in one thread, so that nothing that this host decides waits for anything else than a small file. What takes long (starting
//! and stopping services, imports, the last export) is done beside it (`doing`), and told to it when it ended. `acting` has the acts by the node file, `kept` what must not be
//! forgotten, `looking` how this node's data stands, `outside` where addresses and names are seen, `ways` the paths of envelopes, `told` what happened, for commands that wait, and `orders` what commands ask (`exchange`: the role from one working node to another; `home`: without being asked).
//!
//! Without `[takeover]` nothing of this runs: the role is given by hand.

pub mod acting;
pub mod addresses;
pub mod by_hand;
pub mod checks;
pub mod doing;
mod exchange;
mod exporting;
mod first;
mod hands;
mod home;
pub mod kept;
pub mod looking;
pub mod names;
pub mod orders;
pub mod outside;
pub mod plainly;
pub mod seat;
mod served;
pub mod told;
pub mod ways;
pub mod words;

use crate::serve::Daemon;
use acting::Acting;
use addresses::Word;
use checks::Colours;
use console::exit::Failure;
use console::node_file::{Check, NodeFile, Takeover};
use doing::Doing;
use election::member::{Alert, Config, Input};
use election::message::Standing;
use election::timers::Values;
use election::{NodeId, Timers};
use hands::Hands;
use home::Home;
use link::identity::Identity;
use link::post::Post;
use looking::Looking;
use names::Names;
use orders::Orders;
use outside::Sights;
use recipes::act::dns::Clock;
use seat::{Inbox, Mail, Seat};
use standing::log::{Log, Said};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use told::{Event, Told};
use ways::Paths;

/// How often a node that stands by says how it stands, and how often it looks.
const REPORT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(500);
/// Whether the gate could be is asked of the kernel, which costs a process.
const LOOK_AT_GATE: u32 = 60;
const ALONE: Duration = Duration::from_secs(60);

/// What takeover is begun with.
pub struct Beginning {
    pub file: NodeFile,
    pub takeover: Takeover,
    /// The node file's path, for the exporter.
    pub config: PathBuf,
    pub identity: Identity,
    pub daemon: Arc<Daemon>,
    pub log: Log,
    pub runtime: Handle,
    pub stop: watch::Receiver<bool>,
}

/// This node's part in takeover, running.
pub struct Running {
    pub orders: Arc<Orders>,
    inbox: Inbox,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    /// Ends the member's thread; what this node holds it keeps, until its lease is over or a new process takes it up.
    pub fn end(self) {
        self.inbox.end();
        // It has told what went wrong.
        let _ = self.thread.join();
    }
}

impl Beginning {
    /// Takes part from now on. Whatever this host may not do is closed first.
    pub fn begin(self) -> Result<Running, Failure> {
        let Beginning { file, takeover, config, identity, daemon, log, runtime, stop } = self;
        let acting = Arc::new(Acting::new(&file, &takeover)?);
        acting.bind()?;
        let (inbox, mail) = Inbox::new();
        let (told, colours) = (Arc::new(Told::default()), Colours::default());
        let around = doing::Around {
            acting: acting.clone(),
            daemon: daemon.clone(),
            config: config.clone(),
            checks: takeover.checks.clone(),
            activation: takeover.activation,
            inbox: inbox.clone(),
            told: told.clone(),
            log: log.clone(),
            runtime: runtime.clone(),
        };
        let doing = Doing::new(around, file.clone());
        close_unless_held(&file, &acting, &doing)?;
        acting.begin(doing.epoch(), told_of_addresses(&inbox, &told, &log))?;
        let sights = Sights::new(&file, &takeover, Arc::new(crate::cmd::now_ms));
        let paths = Paths::new(&file, identity, daemon.node().clone(), (inbox.clone(), told.clone(), sights.clone()));
        daemon.node().elect_by(paths.clone());
        let orders = Arc::new(Orders {
            file: file.clone(),
            inbox: inbox.clone(),
            told: told.clone(),
            colours: colours.clone(),
            paths: paths.clone(),
            daemon: daemon.clone(),
            runtime: runtime.clone(),
            activation: takeover.activation,
            config,
            final_export: takeover.final_export,
            max_pause: takeover.max_pause,
            stop: stop.clone(),
        });
        let watch = |check: &Check| checks::watch(check.clone(), doing.clone(), told.clone(), colours.clone(), stop.clone());
        takeover.checks.iter().for_each(|check| drop(runtime.spawn(watch(check))));
        let seconds: Clock = Arc::new(|| crate::cmd::now_ms() / 1000);
        let names = Names::new(&file, &takeover, &seconds, told.clone(), log.clone())?;
        outside::Looking {
            file: file.clone(),
            takeover: takeover.clone(),
            sights: sights.clone(),
            told: told.clone(),
            paths: paths.clone(),
            log: log.clone(),
            stop: stop.clone(),
        }
        .begin(&seconds, &runtime)?;
        let guarded = acting.is_guarded();
        let seat = Seat {
            state: file.node.state.clone(),
            config: config_of(&file, &takeover)?,
            readiness: Looking { imports: daemon.imports(), takeover: &takeover, guarded, outside: sights.words() }.readiness(),
            acting: acting.clone(),
            doing: doing.clone(),
            post: Post::new(paths.clone(), runtime.clone()),
            paths: paths.clone(),
            told: told.clone(),
            log: log.clone(),
        };
        let thread = member_thread(seat, mail)?;
        paths.hand_over_by(Hands::new(&orders, &log));
        Home::begin(&orders, takeover.failback, &log)?;
        let watching = Watching { takeover, acting, doing, names, daemon, told, sights, paths, inbox: inbox.clone() };
        runtime.spawn(watching.run(guarded, stop));
        Ok(Running { orders, inbox, thread })
    }
}

/// One that a new reign cannot have ends that reign here; of everything else people are told.
fn told_of_addresses(inbox: &Inbox, told: &Arc<Told>, log: &Log) -> impl Fn(Word) + Send + Sync + 'static {
    let (inbox, told, log) = (inbox.clone(), told.clone(), log.clone());
    move |word| {
        // From a reign that a person began alone nobody could take over: there it goes on, and is tried again.
        let forced = told.role().is_some_and(|role| role.forced);
        let what = match &word {
            Word::Failed(why) if forced => format!("{why}; it is tried again"),
            Word::Failed(why) => format!("{why}: this node steps down"),
            Word::Trouble(what) => what.clone(),
        };
        log.say(Said::warn("takeover", &what));
        told.tell(Event::Trouble(what));
        if matches!(word, Word::Failed(_)) && !forced {
            inbox.put(Input::ServiceDown);
        }
    }
}

fn member_thread(seat: Seat, mail: Mail) -> Result<std::thread::JoinHandle<()>, Failure> {
    let thread = std::thread::Builder::new().name("member".into()).spawn(move || seat.run(&mail));
    thread.map_err(|error| Failure::failed(format!("cannot begin a thread: {error}")))
}

/// What no lease of this boot keeps open is closed.
fn close_unless_held(file: &NodeFile, acting: &Acting, doing: &Doing) -> Result<(), Failure> {
    let state = &file.node.state;
    let seen = kept::member(state).map_err(crate::cmd::failure)?.seen.0;
    let now = link::membership::Reign::open(state).map_err(crate::cmd::failure)?;
    doing.reigning(seen.max(now.as_ref().map_or(0, |reign| reign.epoch)));
    if now.is_some_and(|reign| reign.active) {
        return Ok(());
    }
    acting.close(doing.epoch())
}

fn config_of(file: &NodeFile, takeover: &Takeover) -> Result<Config, Failure> {
    let timers = Timers::new(Values::DEFAULT, Duration::ZERO).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Config {
        cluster: file.cluster.as_str().into(),
        node: file.node.name.as_str().into(),
        timers,
        final_export_max: takeover.final_export,
        activation_max: takeover.activation,
        pause_max: takeover.max_pause,
        report_every: REPORT,
        alone_after: ALONE,
    })
}

/// Looks how this node's data stands, and does what follows from a role that changed.
struct Watching {
    takeover: Takeover,
    acting: Arc<Acting>,
    doing: Doing,
    names: Arc<Names>,
    daemon: Arc<Daemon>,
    told: Arc<Told>,
    sights: Arc<Sights>,
    paths: Arc<Paths>,
    inbox: Inbox,
}

impl Watching {
    async fn run(self, mut guarded: bool, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let (mut last, mut fellows, mut next, mut rounds) = (None, None, 0, 0_u32);
        let mut had_strayed = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = this.daemon.imported() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            rounds = rounds.wrapping_add(1);
            let (look, of_gate) = (this.clone(), rounds.is_multiple_of(LOOK_AT_GATE));
            let looked = tokio::task::spawn_blocking(move || {
                let guarded = if of_gate { look.acting.is_guarded() } else { guarded };
                let outside = look.sights.words();
                let looking = Looking { imports: look.daemon.imports(), takeover: &look.takeover, guarded, outside };
                (looking.readiness(), look.daemon.imports().strayed(), guarded)
            });
            // A look that failed is done again.
            let Ok((readiness, strayed, now_guarded)) = looked.await else { continue };
            guarded = now_guarded;
            // Back to the history, without waiting for the next look into the mirror.
            if strayed && !had_strayed {
                this.daemon.poke_all();
            }
            had_strayed = strayed;
            if last.as_ref() != Some(&readiness) {
                this.inbox.put(Input::Readiness(readiness.clone()));
                last = Some(readiness);
            }
            let known: BTreeSet<NodeId> = this.paths.others().into_iter().map(NodeId).collect();
            if fellows.as_ref() != Some(&known) {
                this.inbox.put(Input::Fellows(known.clone()));
                fellows = Some(known);
            }
            next = this.follow(next);
        }
    }

    /// What a role that changed asks for beside the member's own orders.
    fn follow(&self, next: u64) -> u64 {
        let (events, next) = self.told.since(next, Duration::ZERO);
        for event in events {
            if let Event::Alert(Alert::Active { .. }) = event {
                self.doing.begin_exporting();
                self.doing.announce();
            }
        }
        self.names.follow();
        if matches!(self.told.standing(), Standing::Passive | Standing::Syncing | Standing::Ready | Standing::Closed) {
            self.doing.capture(true);
        }
        // It may be the one that counts, and what nobody else has cannot be chosen.
        if self.told.role().is_some_and(|role| role.forced && role.standing == Standing::Fenced) {
            self.doing.capture(false);
        }
        if self.told.standing() == Standing::Closed {
            self.doing.bring_back();
        }
        next
    }
}
