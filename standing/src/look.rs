//! A daemon's own look at how its host stands, every few seconds: what turned is told, pinged, logged, and given to the health address.
//!
//! The look itself is the same that `status` takes. The state of incidents is on disk before anything of it is delivered, so that a restart repeats no alert;
//! where it cannot be written, alerts go out all the same, for that is when they are needed. Deliveries and pings run beside, and delay no look.

use crate::deliver::{Ways, Went, policy};
use crate::health::Newest;
use crate::hook::Hook;
use crate::host::Host;
use crate::log::{Log, Said};
use crate::place::ms;
use console::node_file::Alert;
use link::running::Alone;
use link::state_file;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch as tell};
use tokio::time::{Instant, timeout};
use watch::incident::Open;
use watch::ping::{Ping, Pings};
use watch::{Clock, Evidence, Incidents, Place, Policy, Word};

type Wall = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a look is made of.
pub struct Look {
    pub daemon: &'static str,
    pub host: String,
    pub state: PathBuf,
    pub alert: Alert,
    /// Where each dataset is pinged.
    pub pings: BTreeMap<String, String>,
    pub every: Duration,
    pub wall: Wall,
    /// Finds out how the host stands. It may block.
    pub gather: Arc<dyn Fn() -> Host + Send + Sync>,
    pub newest: Newest,
    pub log: Log,
}

/// Longest that one alert or ping by URL may take.
const ANSWER: Duration = Duration::from_secs(15);
/// How often a daemon looks, unless it is told otherwise.
pub const LOOK: Duration = Duration::from_secs(2);
/// How often a daemon shows that it lives.
const PULSE: Duration = Duration::from_secs(1);
/// A daemon that ends gives alerts under way so long.
const LAST: Duration = Duration::from_secs(2);

fn path(state: &Path, daemon: &str) -> PathBuf {
    state.join(format!("{daemon}.incidents.json"))
}

/// The incidents that a daemon kept; what cannot be read is said, and begun anew.
pub fn incidents(state: &Path, daemon: &str, alert: &Alert, host: &str) -> (Incidents, Option<String>) {
    let path = path(state, daemon);
    let found = std::fs::read(&path).ok().map(|json| Incidents::open(policy(alert, host), &json));
    match found {
        Some(Ok(incidents)) => (incidents, None),
        Some(Err(error)) => (Incidents::create(policy(alert, host)), Some(format!("{}: {}", path.display(), link::pull::chain(&error)))),
        None => (Incidents::create(policy(alert, host)), None),
    }
}

/// Shows that a daemon lives, until `stop` turns true.
pub async fn pulse(alone: Arc<Alone>, wall: Wall, mut stop: tell::Receiver<bool>) {
    loop {
        alone.pulse(wall());
        if timeout(PULSE, stop.wait_for(|stop| *stop)).await.is_ok() {
            return;
        }
    }
}

struct Going {
    incidents: Incidents,
    pings: BTreeMap<String, Pings>,
    hook: Arc<Hook>,
    ways: Option<Ways>,
    began: Instant,
    under_way: usize,
}

impl Look {
    /// Until `stop` turns true.
    pub async fn run(self, mut stop: tell::Receiver<bool>) {
        let hook = Arc::new(Hook::new(ANSWER));
        let (incidents, trouble) = incidents(&self.state, self.daemon, &self.alert, &self.host);
        if let Some(trouble) = trouble {
            self.log.say(Said::warn("state", trouble));
        }
        let ways = Ways::of(&self.alert, hook.clone()).map_err(|error| self.log.say(Said::error("alert", error))).ok();
        let mut going = Going { incidents, pings: BTreeMap::new(), hook, ways, began: Instant::now(), under_way: 0 };
        let (to, mut from) = mpsc::unbounded_channel();
        let mut next = Instant::now();
        if going.ways.is_none() {
            // Told as not delivered by `status`, whose channels are those of the configuration.
            going.incidents = Incidents::create(Policy { channels: vec![], ..policy(&self.alert, &self.host) });
        }
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            let wait = going.incidents.next_due(self.clock(&going)).map_or(wait, |due| due.min(wait));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Some(went) = from.recv() => self.went(&mut going, went),
                _ = stop.wait_for(|stop| *stop) => break,
            }
            if next <= Instant::now() {
                self.look(&mut going).await;
                next = Instant::now() + self.every;
            }
            self.tell(&mut going, &to);
        }
        let last = async {
            while going.under_way > 0 {
                let Some(went) = from.recv().await else { return };
                self.went(&mut going, went);
                self.save(&mut going);
            }
        };
        // What is not delivered by then is delivered by the next daemon.
        let _ = timeout(LAST, last).await;
    }

    fn clock(&self, going: &Going) -> Clock {
        Clock { wall_ms: ms((self.wall)()), steady_ms: going.began.elapsed().as_millis() as u64 }
    }

    async fn look(&self, going: &mut Going) {
        let gather = self.gather.clone();
        // A look that panicked tells nothing, and what is not told is not well: the last look grows old.
        let Ok(host) = tokio::task::spawn_blocking(move || gather()).await else {
            return self.log.say(Said::error("status", "the look at this host failed"));
        };
        let (now, before) = (self.clock(going), going.incidents.list());
        host.datasets.iter().for_each(|line| going.incidents.observe(&line.status, now));
        let places: Vec<&Place> = host.datasets.iter().map(|line| &line.status.place).collect();
        going.incidents.keep(|place| places.contains(&place), now);
        self.ping(going, &host, now);
        let after = going.incidents.list();
        self.say(&before, &after);
        self.newest.set(Arc::new(host.with(&going.incidents, None)));
    }

    fn say(&self, before: &[Open], after: &[Open]) {
        let about = |said: Said, open: &Open| {
            let said = said.dataset(format!("{}/{}", open.place.cluster, open.place.dataset));
            open.place.peer.iter().fold(said, |said, peer| said.peer(peer))
        };
        let is_in = |list: &[Open], open: &Open| list.iter().any(|other| other.place == open.place);
        for open in after.iter().filter(|open| !is_in(before, open)) {
            let text = format!("{} is {}: {}", open.place.hop.name(), open.word.name(), open.why);
            self.log.say(about(Said::error("incident-opened", text), open));
        }
        for open in before.iter().filter(|open| !is_in(after, open)) {
            self.log
                .say(about(Said::info("incident-closed", format!("{} is ok again", open.place.hop.name())), open));
        }
    }

    /// A dataset does as well as the worst of its hops, and is as old as the oldest of them.
    fn ping(&self, going: &mut Going, host: &Host, now: Clock) {
        for (dataset, url) in &self.pings {
            let lines: Vec<_> = host.datasets.iter().filter(|line| line.status.place.dataset == *dataset).collect();
            let word = lines.iter().map(|line| line.word()).max().unwrap_or(Word::Never);
            let captured_ms = lines.iter().map(|line| line.evidence.captured_ms).min().flatten();
            let evidence = Evidence { captured_ms, ..Evidence::default() };
            let ping: Option<Ping> = going.pings.entry(dataset.clone()).or_default().observe(word, &evidence, now);
            let Some(ping) = ping else { continue };
            let (hook, url, log, dataset) = (going.hook.clone(), ping.url(url), self.log.clone(), dataset.clone());
            tokio::spawn(async move {
                if let Err(error) = hook.ping(&url).await {
                    log.say(Said::warn("ping-failed", link::pull::chain(&error)).dataset(dataset));
                }
            });
        }
    }

    fn save(&self, going: &mut Going) {
        if let Some(json) = going.incidents.unsaved()
            && let Err(error) = state_file::replace(&path(&self.state, self.daemon), &json)
        {
            self.log.say(Said::error("state", link::pull::chain(&error)));
        }
    }

    fn tell(&self, going: &mut Going, to: &mpsc::UnboundedSender<Went>) {
        self.save(going);
        let Some(ways) = &going.ways else { return };
        for (channel, message) in going.incidents.take_due(self.clock(going)) {
            going.under_way += 1;
            ways.begin(&channel, message, to.clone());
        }
    }

    fn went(&self, going: &mut Going, Went { channel, outcome }: Went) {
        going.under_way = going.under_way.saturating_sub(1);
        if let Err(why) = &outcome {
            self.log.say(Said::warn("alert-failed", format!("by {channel}: {why}")));
        }
        let now = self.clock(going);
        going.incidents.delivered(&channel, outcome.as_ref().copied().map_err(String::as_str), now);
    }
}
