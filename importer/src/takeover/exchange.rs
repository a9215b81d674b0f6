//! The role from one node to another while both work: a planned switchover, and the way home.

use crate::takeover::exporting::exporter;
use crate::takeover::hands::Stays;
use crate::takeover::kept::Reigned;
use crate::takeover::orders::{Orders, Stands, UNHEARD};
use crate::takeover::told::Event;
use crate::takeover::words;
use console::human;
use election::NodeId;
use election::member::{Alert, Order};
use election::message::Standing;
use link::boot;
use link::control::Ended;
use link::post::OfRole;
use std::cell::Cell;
use std::time::Duration;

/// Who hands the role over is asked so often how far that is.
const ASK: Duration = Duration::from_secs(1);
/// So many exports are made ahead of a switchover at most, and none after one this short.
const AHEAD: u32 = 3;
const SHORT: Duration = Duration::from_secs(1);

/// Why a role is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A person said so here.
    Ordered,
    /// The other node asked for it.
    Asked,
}

impl Orders {
    pub(super) fn hand_over(&self, to: &NodeId, within: Option<Duration>, why: Why, say: &dyn Fn(String)) -> Ended<Stands> {
        if !matches!(self.told.standing(), Standing::Active) {
            let hint = "run it on the active node; `importer activate` takes over where that one is dead";
            return Ended::refused(format!("this node {}", words::standing(self.told.standing())), hint);
        }
        let most = within.unwrap_or(self.max_pause);
        if let Err(ended) = self.sent_ahead(to, most, say) {
            return ended;
        }
        // Sending ahead may have taken long, and nobody is given a role that he does not wait for any more.
        if why == Why::Asked
            && let Err(stays) = self.runtime.block_on(self.paths.ask_of_the_role(&to.0, OfRole::Waits))
        {
            return Ended::refused(stays.why, "the service goes on here; it is handed over when that is asked for again");
        }
        let order = Order::Switchover { to: to.clone(), within };
        self.follow(order, self.final_export + most, say, &|event| match event {
            Event::Alert(Alert::ExchangeFailed { .. }) => {
                Some(Ended::failed(format!("{to} did not take over: this node goes on as the active one")))
            }
            Event::Alert(Alert::Superseded { .. }) => Some(Ended::Done(())),
            Event::Role(role) if matches!(role.standing, Standing::Passive | Standing::Ready | Standing::Syncing) => Some(Ended::Done(())),
            _ => None,
        })
    }

    /// Exports what there is while the service goes on, so that little is left for the pause; and looks whether that is short enough.
    fn sent_ahead(&self, to: &NodeId, most: Duration, say: &dyn Fn(String)) -> Result<(), Ended<Stands>> {
        let mut last = Duration::MAX;
        for _ in 0..AHEAD {
            let began = boot::now();
            let limit = format!("{}s", self.final_export.as_secs().max(1));
            exporter(&self.config, &["run", "--wait", "--arbiter", "--for", &limit], self.final_export + Duration::from_secs(5)).map_err(
                |why| {
                    Ended::refused(format!("what is new could not be sent ahead: {why}"), "the service goes on here; see `exporter status`")
                },
            )?;
            let took = boot::now().since(began);
            // Until it is no shorter for being repeated.
            let enough = took < SHORT || took * 2 > last;
            last = took;
            if enough {
                break;
            }
        }
        let begins = self.runtime.block_on(self.paths.takes(&to.0)).unwrap_or_default();
        if last + begins <= most {
            say(format!("what was new is sent ahead: the last export took {}", human::duration(last)));
            return Ok(());
        }
        let (last, begins, most) = (human::duration(last), human::duration(begins), human::duration(most));
        let why = format!(
            "the service would be closed too long: the last export took {last}, and {to} took {begins} to begin, where the pause may be {most}"
        );
        Err(Ended::refused(why, "the service goes on here; --max-pause, or `max_pause` in [takeover], allows more"))
    }

    /// What was written elsewhere is imported first; what this node alone has was put aside before that.
    pub(super) fn failback(&self, within_ms: Option<u64>, say: &dyn Fn(String)) -> Ended<Stands> {
        if matches!(self.told.standing(), Standing::Active) {
            say("this node is active already".into());
            return Ended::Done(self.stands());
        }
        if matches!(self.told.standing(), Standing::Closed) {
            let opened = self.follow(Order::Reopen, UNHEARD, say, &|event| match event {
                Event::Role(role) if role.standing != Standing::Closed => Some(Ended::Done(())),
                _ => None,
            });
            if !matches!(opened, Ended::Done(_)) {
                return opened;
            }
        }
        if let Err(ended) = self.made_ready(say) {
            return ended;
        }
        match self.asked_for(OfRole::HandOver { within_ms }, say) {
            Ok(ended) => ended,
            Err(said) => {
                said.into_iter().for_each(|stays| say(stays.why));
                self.rise(Order::Activate { accept_loss: false, adopt: false }, say)
            }
        }
    }

    /// The same, by nobody's order: from a node that works, or not at all.
    pub(super) fn come_home(&self, say: &dyn Fn(String)) -> Result<(), Stays> {
        let ended = match self.made_ready(say) {
            Err(ended) => ended,
            Ok(()) => match self.asked_for(OfRole::Home, say) {
                Ok(ended) => ended,
                Err(said) => {
                    let for_good = said.iter().any(|stays| stays.for_good);
                    let why: Vec<_> = said.into_iter().map(|stays| stays.why).collect();
                    return Err(Stays { why: format!("no node hands it over: {}", why.join("; ")), for_good });
                }
            },
        };
        match ended {
            Ended::Done(_) => Ok(()),
            Ended::Refused { why, .. } | Ended::Failed { why, .. } => Err(Stays::now(why)),
        }
    }

    /// Asks the others for the role, and waits for it; or what they said.
    fn asked_for(&self, asked: OfRole, say: &dyn Fn(String)) -> Result<Ended<Stands>, Vec<Stays>> {
        self.paths.wait_for_the_role(true);
        let ended = self.runtime.block_on(self.paths.ask_for_the_role(asked)).map(|from| {
            say(format!("{from} sends ahead what is new, and then hands the role over"));
            // What is sent ahead may be much: how long that goes on, `from` says.
            self.rise_after(None, Duration::MAX, &self.watching(&from), say)
        });
        self.paths.wait_for_the_role(false);
        ended
    }

    /// Looks after who hands the role over: whether that goes on, and whether the role comes when it is given.
    fn watching<'a>(&'a self, from: &'a str) -> impl Fn() -> Option<Ended<()>> + 'a {
        let (next, until) = (Cell::new(boot::now() + ASK), Cell::new(boot::now() + self.activation));
        move || {
            if boot::now() < next.get() {
                return None;
            }
            next.set(boot::now() + ASK);
            if matches!(self.told.standing(), Standing::Claiming | Standing::Activating) {
                return None;
            }
            let hint = format!("`importer status` here, and the log of `importer serve` here and on {from}, say what was in the way");
            let why = match self.runtime.block_on(self.paths.ask_of_the_role(from, OfRole::HandsOver)) {
                Ok(()) => {
                    until.set(boot::now() + self.activation);
                    return None;
                }
                Err(Stays { why, for_good: true }) => format!("{from} goes on as the active one: {why}"),
                Err(_) if boot::now() < until.get() => return None,
                Err(Stays { why, .. }) => format!("the role did not come from {from}: {why}"),
            };
            Some(Ended::Failed { why, hint: Some(hint) })
        }
    }

    /// Ready, by what stands here now: what this node wrote when it was active is captured, and newer data imported over it.
    fn made_ready(&self, say: &dyn Fn(String)) -> Result<(), Ended<Stands>> {
        let until = boot::now() + self.activation;
        let mut next = self.told.next();
        let captured = || matches!(Reigned::open(&self.file.node.state), Ok(None));
        while !(captured() && self.told.standing() == Standing::Ready) {
            if boot::now() >= until {
                let why = format!("this node {}, and did not become ready", words::standing(self.told.standing()));
                return Err(Ended::refused(why, "`importer status` and the log of `importer serve` say what is in the way"));
            }
            self.heard(&mut next)?.iter().filter_map(Event::words).for_each(say);
        }
        Ok(())
    }
}
