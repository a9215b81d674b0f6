//! `importer vip`: the addresses of the active node looked at, and tried by hand before there is need. The daemon does without: what is done here is for rehearsals.

use crate::takeover::addresses::settings;
use crate::takeover::kept;
use clap::{Args, Subcommand};
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::{Output, tell};
use console::quantity;
use link::boot;
use link::membership::Reign;
use lookup::Surroundings;
use lookup::cmd::document;
use recipes::act::vip::{Sighting, Watch, seen};
use recipes::act::{Act, Call, Holds, Vip as Address};
use recipes::data::{Finding, Level};
use serde::Serialize;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// As long as one takes at most: the kernel looks for two seconds whether an address of IPv6 is new.
const WITHIN: Duration = Duration::from_secs(10);
const SEEN: Duration = Duration::from_millis(500);
const HEAR: Duration = Duration::from_secs(3600);

/// Looks at the addresses that the active node has, and tries them by hand
#[derive(Args, Debug)]
pub struct Vip {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Check(Check),
    Take(Take),
    Release(Release),
    Watch(Watching),
}

#[derive(Args, Debug)]
struct Which {
    /// One of the node file's addresses; all of them when none is named
    address: Option<IpAddr>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Says whether it could be taken here, and who has it now; changes nothing
#[derive(Args, Debug)]
struct Check {
    #[command(flatten)]
    which: Which,
}

/// Takes it, for a while: the kernel takes it away again by itself
#[derive(Args, Debug)]
#[command(after_help = "It is refused when another host has it, and on the active node, whose daemon keeps its addresses.")]
struct Take {
    #[command(flatten)]
    which: Which,
    /// For so long: 60s, 5m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = quantity::duration)]
    time: Duration,
}

/// Takes it away from this host, with its routes
#[derive(Args, Debug)]
struct Release {
    #[command(flatten)]
    which: Which,
}

/// Prints which hosts announce it, answer for it or probe for it, until it is stopped
#[derive(Args, Debug)]
struct Watching {
    /// One of the node file's addresses; all of them when none is named
    address: Option<IpAddr>,
    /// Only for so long: 60s, 5m
    #[arg(long = "for", value_name = "TIME", value_parser = quantity::duration)]
    time: Option<Duration>,
    /// One JSON object on each line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shape {
    address: IpAddr,
    interface: String,
    /// `yes`, `no`, `partly` or `unknown`.
    holds: &'static str,
    left_seconds: Option<u64>,
    holder: Option<String>,
    findings: Vec<FindingShape>,
}

#[derive(Serialize)]
struct FindingShape {
    level: &'static str,
    what: String,
    hint: Option<String>,
}

#[derive(Serialize)]
struct SightingShape {
    address: IpAddr,
    mac: String,
    claim: String,
}

impl Vip {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        match &self.command {
            Command::Check(Check { which }) => which.each(&file, &|address, call| address.check(call).map(|checked| checked.findings)),
            Command::Take(Take { which, time }) => {
                idle(&file)?;
                which.each(&file, &|address, call| address.take(&Call { lifetime: Some(*time), ..call.clone() }))
            }
            Command::Release(Release { which }) => {
                idle(&file)?;
                which.each(&file, &|address, call| address.release(call))
            }
            Command::Watch(watching) => watching.run(&file),
        }
    }
}

/// The daemon of an active node keeps its addresses, for no longer than its lease.
fn idle(file: &NodeFile) -> Result<(), Failure> {
    match Reign::open(&file.node.state).map_err(super::failure)? {
        Some(Reign { active: true, .. }) => Err(Failure::refused("this is the active node: its daemon takes its addresses and keeps them")
            .hint("to move them, hand the role over: `importer switchover`")),
        _ => Ok(()),
    }
}

fn failed(error: recipes::Error) -> Failure {
    let hint = error.hint();
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Those that are meant.
fn chosen(file: &NodeFile, one: Option<IpAddr>) -> Result<Vec<Address>, Failure> {
    let vips = file.takeover.as_ref().map(|takeover| takeover.vips.as_slice()).unwrap_or_default();
    let known: Vec<String> = vips.iter().map(|vip| vip.address.to_string()).collect();
    let records = file.node.state.join("acts");
    let meant: Vec<_> = vips.iter().filter(|vip| one.is_none_or(|one| one == vip.address)).collect();
    match one {
        _ if known.is_empty() => Err(Failure::usage("the node file has no [[takeover.vip]]").hint("docs/vip.md shows one")),
        Some(one) if meant.is_empty() => {
            Err(Failure::usage(format!("the node file has no address {one}")).hint(format!("it has: {}", known.join(", "))))
        }
        _ => meant.into_iter().map(|vip| Address::new(settings(vip, &records)).map_err(failed)).collect(),
    }
}

impl Which {
    fn each(&self, file: &NodeFile, act: &dyn Fn(&Address, &Call) -> Result<Vec<Finding>, recipes::Error>) -> Result<Status, Failure> {
        let epoch = kept::member(&file.node.state).map_err(super::failure)?.seen.0;
        let reign = Reign::written(&file.node.state).map_err(super::failure)?.map_or(0, |reign| reign.epoch);
        let (cluster, node) = (file.cluster.clone(), file.node.name.clone());
        let call = Call { cluster, epoch: epoch.max(reign), node, within: WITHIN, lifetime: None };
        let (mut shapes, mut wrong) = (Vec::new(), None);
        for address in chosen(file, self.address)? {
            // The others are told in any case.
            match act(&address, &call) {
                Ok(findings) => shapes.push(shape(&address, &call, &findings).map_err(failed)?),
                Err(error) => wrong = Some(failed(error)),
            }
        }
        let faults = shapes.iter().any(|shape| shape.findings.iter().any(|finding| finding.level == "fault"));
        if self.json {
            document(&shapes)?;
        } else {
            let mut output = Output::stdout();
            for shape in &shapes {
                shape.print(&mut output)?;
            }
            output.finish()?;
        }
        match wrong {
            Some(failure) => Err(failure),
            None if faults => Ok(Status::Failed),
            None => Ok(Status::Done),
        }
    }
}

/// As it stands afterwards.
fn shape(address: &Address, call: &Call, findings: &[Finding]) -> Result<Shape, recipes::Error> {
    let holds = match address.check(call)?.holds {
        Holds::Yes => "yes",
        Holds::No => "no",
        Holds::Partly => "partly",
        Holds::Unknown => "unknown",
    };
    let level = |level: Level| match level {
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Fault => "fault",
    };
    let findings = findings.iter();
    let findings = findings.map(|one| FindingShape { level: level(one.level), what: one.what.clone(), hint: one.hint.clone() });
    // What is there and not by us has no end that we know; the findings say so.
    let left = if holds == "yes" { address.left()? } else { None };
    Ok(Shape {
        address: address.address(),
        interface: address.interface().to_owned(),
        holds,
        left_seconds: left.map(|left| left.as_secs()),
        // Where it cannot be asked, the findings say why.
        holder: seen(address.interface(), address.address(), SEEN).ok().flatten().map(|mac| mac.to_string()),
        findings: findings.collect(),
    })
}

impl Shape {
    fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let Shape { address, interface, .. } = self;
        let holder = self.holder.as_deref().unwrap_or("nobody");
        match (self.holds, self.left_seconds) {
            ("yes", Some(left)) => output.line(format_args!("{address} is here on {interface}, for {left} s"))?,
            ("partly", _) => output.line(format_args!("{address} is here on {interface} in part; {holder} has it"))?,
            ("unknown", _) => output.line(format_args!("{address}: it cannot be seen whether it is here on {interface}"))?,
            _ => output.line(format_args!("{address} is not here on {interface}; {holder} has it"))?,
        }
        for FindingShape { level, what, hint } in &self.findings {
            let hint = hint.as_deref().map_or_else(String::new, |hint| format!(" ({hint})"));
            output.line(format_args!("  {level}: {what}{hint}"))?;
        }
        Ok(())
    }
}

impl Watching {
    fn run(&self, file: &NodeFile) -> Result<Status, Failure> {
        let (heard, hears) = channel();
        for vip in chosen(file, self.address)? {
            let (watch, heard, address) = (Watch::open(vip.interface(), vip.address()).map_err(failed)?, heard.clone(), vip.address());
            let listens = move || {
                // Nobody listens any more when the command ends.
                while heard.send((address, watch.next(HEAR, None))).is_ok() {}
            };
            let spawned = std::thread::Builder::new().name("watch".into()).spawn(listens);
            spawned.map_err(|error| Failure::failed(format!("cannot begin a thread: {error}")))?;
            tell(format_args!("listening on {} for {address}", vip.interface()));
        }
        let until = self.time.map(|time| boot::now() + time);
        loop {
            let left = until.map_or(HEAR, |until| until.since(boot::now()));
            match hears.recv_timeout(left) {
                Ok((address, sighting)) => {
                    if let Some(sighting) = sighting.map_err(failed)? {
                        self.print(address, &sighting)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) if until.is_none_or(|until| boot::now() < until) => {}
                Err(_) => return Ok(Status::Done),
            }
        }
    }

    fn print(&self, address: IpAddr, sighting: &Sighting) -> Result<(), Failure> {
        let (mac, claim) = (sighting.mac.to_string(), sighting.claim.to_string());
        if self.json {
            return document(&SightingShape { address, mac, claim });
        }
        let mut output = Output::stdout();
        output.line(format_args!("{mac} {claim} {address}"))?;
        output.finish()?;
        Ok(())
    }
}
