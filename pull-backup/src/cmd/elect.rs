//! `elect`: lets a node take over now, the best or the one that is named, and waits until it is active.

use super::asking::{asked, odd};
use crate::arbiter::asked::{Answer, Elected, Wish};
use crate::arbiter::shown::Planned;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use lookup::Surroundings;
use lookup::cmd::document;
use std::path::Path;

/// Lets a node take over now, and waits until it is active
#[derive(Args, Debug)]
#[command(
    after_help = "Says who would take over, how old the data is, and what would be left behind. It is refused while a lease lives; what would be left behind goes to quarantine, and only with --accept-data-loss."
)]
pub struct Elect {
    /// The cluster; may be left out when there is one
    pub cluster: Option<String>,
    /// This node, instead of the best
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
    /// Go on although snapshots are left behind
    #[arg(long)]
    pub accept_data_loss: bool,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

impl Elect {
    pub fn run(&self, config: Option<&Path>, surroundings: &Surroundings) -> Result<Status, Failure> {
        if self.dry_run {
            return plan(config, surroundings, self.cluster.as_deref(), self.json);
        }
        let wish = Wish::Elect { to: self.to.clone(), accept_loss: self.accept_data_loss };
        let Answer::Elected(elected) = asked(config, surroundings, self.cluster.as_deref(), wish, self.json)? else { return Err(odd()) };
        if self.json {
            document(&elected)?;
            return Ok(Status::Done);
        }
        let Elected { node, plan } = elected;
        let mut output = Output::stdout();
        output.line(format_args!("{node} is active in cluster {}, in epoch {}", plan.cluster, plan.epoch))?;
        output.finish()?;
        Ok(Status::Done)
    }
}

/// What would happen, on standard output.
pub(crate) fn plan(config: Option<&Path>, surroundings: &Surroundings, cluster: Option<&str>, json: bool) -> Result<Status, Failure> {
    let Answer::Planned(plan) = asked(config, surroundings, cluster, Wish::Plan, false)? else { return Err(odd()) };
    if json {
        document(&plan)?;
        return Ok(Status::Done);
    }
    show(&plan)
}

fn show(plan: &Planned) -> Result<Status, Failure> {
    let mut output = Output::stdout();
    for line in plan.lines() {
        output.line(line)?;
    }
    output.finish()?;
    Ok(Status::Done)
}
