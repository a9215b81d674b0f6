//! What a person orders of this node's part in takeover: `activate`, `close`, `failback`, `switchover`; asked of the daemon, which alone decides.

use crate::takeover::orders::{DAEMON, Opens, Question, Stands};
use crate::takeover::words;
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::{Output, tell};
use link::control::{Ended, ask};
use lookup::Surroundings;
use lookup::cmd::document;
use lookup::open::Identity;
use std::path::PathBuf;

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
    /// With --force: you have made sure that this node is off
    #[arg(long, value_name = "NODE", requires = "force")]
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
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Brings the role home to this node: run it on the host that came back
#[derive(Args, Debug)]
#[command(
    visible_alias = "update-from-fallback",
    after_help = "What this node alone has was put aside when it came back. It imports what was written elsewhere, and then the active node hands the role over."
)]
pub struct Failback {
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

impl Activate {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let question = match &self.old_active_off {
            Some(off) => Question::Force { off: off.clone(), opens: self.opens()? },
            None => Question::Activate { accept_loss: self.accept_data_loss, adopt: self.adopt, opens: self.opens()? },
        };
        order(&question, self.json, config, surroundings)
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
        order(&Question::Close, self.json, config, surroundings)
    }
}

impl Switchover {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        order(&Question::Switchover { to: self.to.clone() }, self.json, config, surroundings)
    }
}

impl Failback {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        order(&Question::Failback, self.json, config, surroundings)
    }
}

fn order(question: &Question, json: bool, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
    let file = super::open(config, surroundings)?;
    let stands = put(&file, question, &mut |word| tell(word))?;
    if json {
        document(&stands)?;
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
