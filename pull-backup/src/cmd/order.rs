//! A person's short words to the arbiter: `pause`, `resume`, `ack`, `attest`.

use super::asking::{asked, odd};
use crate::arbiter::asked::{Answer, Wish};
use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use console::{human, quantity};
use lookup::Surroundings;
use std::path::Path;
use std::time::Duration;

/// Lets the active go on without an arbiter for a while, and nobody take over
#[derive(Args, Debug)]
#[command(
    after_help = "For work on this host or on the network between. The active takes the pause up with its next renewal: `pull-backup status` says when."
)]
pub struct Pause {
    /// The cluster; may be left out when there is one
    pub cluster: Option<String>,
    /// How long, as "2h"
    #[arg(long = "for", value_name = "D", value_parser = quantity::duration)]
    pub length: Duration,
}

/// Ends a pause, as soon as the active has heard of it
#[derive(Args, Debug)]
pub struct Resume {
    /// The cluster; may be left out when there is one
    pub cluster: Option<String>,
}

/// Says that the last takeover was seen: from now on others may follow by themselves
#[derive(Args, Debug)]
pub struct Ack {
    /// The cluster; may be left out when there is one
    pub cluster: Option<String>,
}

/// Swears that a node is off, so that its lease need not be waited for
#[derive(Args, Debug)]
#[command(after_help = "If it is not off, two nodes will serve at the same time. Pull its plug first.")]
pub struct Attest {
    /// The cluster; may be left out when there is one
    pub cluster: Option<String>,
    /// The node that is off
    #[arg(long, value_name = "NODE")]
    pub off: String,
    /// The same name again
    #[arg(long, value_name = "NODE")]
    pub yes: Option<String>,
}

/// Most that a pause may last: who pauses for longer has no takeover.
const PAUSE_MAX: Duration = Duration::from_secs(7 * 86_400);

fn order(
    config: Option<&Path>,
    surroundings: &Surroundings,
    cluster: Option<&str>,
    wish: Wish,
    done: impl FnOnce(&str) -> String,
) -> Result<Status, Failure> {
    let Answer::Done(cluster) = asked(config, surroundings, cluster, wish, false)? else { return Err(odd()) };
    let mut output = Output::stdout();
    output.line(done(&cluster))?;
    output.finish()?;
    Ok(Status::Done)
}

impl Pause {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        if self.length > PAUSE_MAX || self.length.is_zero() {
            return Err(Failure::usage("a pause lasts at least a moment and at most a week").hint("as --for 2h"));
        }
        let length = human::duration(self.length);
        order(config, surroundings, self.cluster.as_deref(), Wish::Pause { length: self.length }, |cluster| {
            format!("{cluster}: paused for {length} from when the active takes it up; until after that nothing is granted")
        })
    }
}

impl Resume {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        order(config, surroundings, self.cluster.as_deref(), Wish::Resume, |cluster| {
            format!("{cluster}: the pause ends when the active has heard of it")
        })
    }
}

impl Ack {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        order(config, surroundings, self.cluster.as_deref(), Wish::Acknowledge, |cluster| {
            format!("{cluster}: the last takeover was seen; others may follow by themselves")
        })
    }
}

impl Attest {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let off = &self.off;
        if self.yes.as_ref() != Some(off) {
            return Err(Failure::refused(format!("if {off} is not off, two nodes will serve at the same time"))
                .hint(format!("see that it is off, then say its name once more: --off {off} --yes {off}")));
        }
        order(config, surroundings, self.cluster.as_deref(), Wish::Attest { off: off.clone() }, |cluster| {
            format!("{cluster}: {off} is taken to be off; its lease is not waited for")
        })
    }
}
