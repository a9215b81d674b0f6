//! What a person orders of this node's part in takeover: `activate`, `close`, `failback`, `switchover`; asked of the daemon, which alone decides.

use crate::takeover::orders::{DAEMON, Opens, Question, Stands};
use crate::takeover::{by_hand, words};
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::{Output, tell};
use console::place;
use console::quantity;
use link::control::{Ended, ask};
use lookup::Surroundings;
use lookup::cmd::document;
use lookup::open::Identity;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Makes this node the active one, when no lease lives
#[derive(Args, Debug)]
#[command(
    after_help = "It is refused while another node holds the role, or may hold it. First it imports what is newer, then it starts the services behind the closed gate, \
                  and opens that when the arbiter has written it down."
)]
pub struct Activate {
    /// Take over services that run here already, without a restart
    #[arg(long)]
    pub adopt: bool,
    /// Go on without the snapshots that would be left behind
    #[arg(long)]
    pub accept_data_loss: bool,
    /// Without the arbiter; two nodes may both have taken the role then, and a person must say which counts
    #[arg(long, requires = "old_active_off", conflicts_with_all = ["adopt", "accept_data_loss"])]
    pub force: bool,
    /// You have made sure that this node is off: with --force, or where the node file has no `[takeover]`
    #[arg(long, value_name = "NODE")]
    pub old_active_off: Option<String>,
    #[command(flatten)]
    pub means: Identity,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Stops serving here, captures what was produced, and takes part in nothing until `failback`
#[derive(Args, Debug)]
pub struct Close {
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Hands the role over to another node, without losing a write
#[derive(Args, Debug)]
#[command(
    after_help = "Run it on the active node. The gate is closed, services stop, the last export is held by the archive and imported there; then the role passes. Until then \
                  anything that fails leaves this node active."
)]
pub struct Switchover {
    /// The node that takes over
    #[arg(long, value_name = "NODE")]
    pub to: String,
    /// How long the service may be closed, instead of `max_pause` in `[takeover]`; it is refused when it would be longer
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub max_pause: Option<Duration>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Brings the role home to this node: run it on the host that came back
#[derive(Args, Debug)]
#[command(
    visible_alias = "update-from-fallback",
    after_help = "What this node alone has was put aside when it came back. It imports what was written elsewhere, and then the active node hands the role over: it sends \
                  ahead what is new, and closes the service only if that is short enough."
)]
pub struct Failback {
    /// How long the service may be closed, instead of the active node's `max_pause`; it is refused when it would be longer
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub max_pause: Option<Duration>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

impl Activate {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        if file.takeover.is_none() {
            let imports = Arc::new(super::imports(&file, &self.means)?);
            let stands = by_hand::activate(&file, self.old_active_off.as_deref(), &imports, &mut |word| tell(word))?;
            return show(&stands, self.json);
        }
        let question = match &self.old_active_off {
            Some(_) if !self.force => {
                return Err(Failure::usage("--old-active-off is for --force here")
                    .hint("the arbiter knows when the lease of a dead node is over; `pull-backup attest --off NODE` tells it sooner"));
            }
            Some(off) => Question::Force { off: off.clone(), opens: self.opens()? },
            None => Question::Activate { accept_loss: self.accept_data_loss, adopt: self.adopt, opens: self.opens()? },
        };
        order(&question, self.json, &file)
    }
}

impl Activate {
    /// A passphrase is asked for here, where a person sits, and not by the daemon.
    fn opens(&self) -> Result<Option<Opens>, Failure> {
        let keyring = self.means.keyring()?;
        Ok((!keyring.is_empty()).then(|| Opens(keyring.expose())))
    }
}

impl Close {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        if file.takeover.is_none() {
            let path = place::of(config.map(PathBuf::as_path), surroundings.config.as_deref(), place::NODE);
            return show(&by_hand::close(&file, &path, &mut |word| tell(word))?, self.json);
        }
        order(&Question::Close, self.json, &file)
    }
}

impl Switchover {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let within_ms = self.max_pause.map(|most| most.as_millis() as u64);
        order(&Question::Switchover { to: self.to.clone(), within_ms }, self.json, &super::open(config, surroundings)?)
    }
}

impl Failback {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let within_ms = self.max_pause.map(|most| most.as_millis() as u64);
        order(&Question::Failback { within_ms }, self.json, &super::open(config, surroundings)?)
    }
}

fn order(question: &Question, json: bool, file: &NodeFile) -> Result<Status, Failure> {
    show(&put(file, question, &mut |word| tell(word))?, json)
}

fn show(stands: &Stands, json: bool) -> Result<Status, Failure> {
    if json {
        document(stands)?;
        return Ok(Status::Done);
    }
    let mut output = Output::stdout();
    output.line(format_args!("{} {} (epoch {})", stands.node, words::standing(stands.standing), stands.epoch))?;
    output.finish()?;
    Ok(Status::Done)
}

/// Asks the daemon of this node.
pub fn put(file: &NodeFile, question: &Question, hear: &mut dyn FnMut(String)) -> Result<Stands, Failure> {
    if file.takeover.is_none() {
        return Err(Failure::refused(
            "the node file has no [takeover]: nobody is elected in this cluster, and no lease keeps two nodes from being active",
        )
        .hint("write [takeover] with the services that an active node runs, and start `importer serve`; docs/takeover.md shows one"));
    }
    let answer = ask::<Question, Stands>(&file.node.state, DAEMON, question, hear).map_err(super::failure)?;
    let with = |failure: Failure, hint: Option<String>| match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    match answer {
        Some(Ended::Done(stands)) => Ok(stands),
        Some(Ended::Refused { why, hint }) => Err(with(Failure::refused(why), hint)),
        Some(Ended::Failed { why, hint }) => Err(with(Failure::failed(why), hint)),
        None => Err(Failure::refused(format!("no `importer serve` runs on {}", file.node.state.display()))
            .hint("start it: it alone renews the lease, starts and stops services, and keeps two nodes from being active")),
    }
}
