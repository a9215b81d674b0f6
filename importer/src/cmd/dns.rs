//! `importer dns`: the names of a domain pointed by hand, verified and looked at, one domain or all of the node file.

use crate::takeover::{kept, names};
use clap::{Args, Subcommand};
use console::exit::{Failure, Status};
use console::human;
use console::node_file::{Domain, NodeFile};
use console::output::Output;
use link::membership::Reign;
use lookup::Surroundings;
use lookup::cmd::document;
use recipes::act::dns::verify::{Server, Verified, Word};
use recipes::act::dns::{FAILOVER, Last, PREPARE, RESTORE};
use recipes::act::{Act, Call, Dns};
use recipes::data::{Finding, Level};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A person waits so long for one domain.
const WITHIN: Duration = Duration::from_secs(60);

/// Points the names of domains to a node, brings them back, and asks every name server
#[derive(Args, Debug)]
pub struct Point {
    #[command(subcommand)]
    pub order: Order,
}

#[derive(Subcommand, Debug)]
pub enum Order {
    /// Shortens how long answers are remembered; moves nothing
    Prepare(Which),
    /// Points to this node, with a short TTL
    Failover(Failover),
    /// Points to the first node again, with a long TTL
    Restore(Which),
    /// Does an action of your own, by its file
    Run(Named),
    /// Brings back exactly what was there before the last action, unless somebody changed it since
    Undo(Chosen),
    /// Asks every authoritative server whether it has what was done last
    Verify(Chosen),
    /// Looks for what would go wrong
    Lint(Chosen),
}

#[derive(Args, Debug)]
pub struct Chosen {
    /// One domain; all of the node file without it
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Which {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Show the lines that would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Failover {
    #[command(flatten)]
    pub which: Which,
    /// Another node than this one
    #[arg(long, value_name = "NODE")]
    pub to: Option<String>,
}

#[derive(Args, Debug)]
pub struct Named {
    /// The action: its file is ACTION.ov
    pub action: String,
    #[command(flatten)]
    pub which: Failover,
}

/// What came of one domain.
#[derive(Serialize, Default)]
struct Shape {
    domain: String,
    action: String,
    changed: bool,
    /// The lines of the zone that would change.
    difference: Option<Vec<String>>,
    last: Option<Last>,
    servers: Option<Vec<ServerShape>>,
    findings: Vec<FindingShape>,
    error: Option<String>,
    hint: Option<String>,
    #[serde(skip)]
    words: Vec<String>,
    #[serde(skip)]
    status: Option<Status>,
}

#[derive(Serialize)]
struct ServerShape {
    #[serde(flatten)]
    server: Server,
    says: Word,
}

#[derive(Serialize)]
struct FindingShape {
    level: &'static str,
    what: String,
    hint: Option<String>,
}

impl Point {
    pub fn run(&self, config: Option<&PathBuf>, surroundings: &Surroundings) -> Result<Status, Failure> {
        let file = super::open(config, surroundings)?;
        let (chosen, dry) = self.order.which();
        let list: Vec<&Domain> = file.takeover.iter().flat_map(|takeover| &takeover.domains).collect();
        let wanted: Vec<&Domain> = list
            .iter()
            .copied()
            .filter(|domain| chosen.domain.as_ref().is_none_or(|name| *name == domain.domain))
            .collect();
        if wanted.is_empty() {
            let known: Vec<&str> = list.iter().map(|domain| domain.domain.as_str()).collect();
            let hint = if known.is_empty() {
                "write [[takeover.dns]]; docs/dns.md shows one".into()
            } else {
                format!("it has: {}", known.join(", "))
            };
            return Err(Failure::usage("the node file has no such domain").hint(hint));
        }
        let call = call(&file)?;
        let act = |domain: &Domain| Ok((names::act(&file, domain, Arc::new(|| super::now_ms() / 1000))?, self.aim(domain, &call.node)?));
        // What one of them lacks is said before another is changed.
        let acts = wanted.iter().map(|domain| act(domain)).collect::<Result<Vec<_>, Failure>>()?;
        let shapes: Vec<Shape> = acts.iter().map(|(dns, aim)| self.one(dns, aim.as_ref(), &call, dry)).collect();
        if chosen.json {
            document(&shapes)?;
        } else {
            let mut output = Output::stdout();
            for line in shapes.iter().flat_map(Shape::lines) {
                output.line(line)?;
            }
            output.finish()?;
        }
        Ok(shapes
            .iter()
            .filter_map(|shape| shape.status)
            .max_by_key(|status| rank(*status))
            .unwrap_or(Status::Done))
    }

    /// The action, and the node to which it points.
    fn aim(&self, domain: &Domain, node: &str) -> Result<Option<(String, String)>, Failure> {
        Ok(match &self.order {
            Order::Undo(_) | Order::Verify(_) | Order::Lint(_) => None,
            Order::Prepare(_) => Some((PREPARE.to_owned(), domain.home.clone())),
            Order::Restore(_) => Some((RESTORE.to_owned(), domain.home.clone())),
            Order::Failover(order) => Some((FAILOVER.to_owned(), order.target(domain, node)?)),
            Order::Run(order) => Some((order.action.clone(), order.which.target(domain, node)?)),
        })
    }

    fn one(&self, dns: &Dns, aim: Option<&(String, String)>, call: &Call, dry: bool) -> Shape {
        let mut shape = Shape { domain: dns.domain(), ..Shape::default() };
        let Some((action, to)) = aim else {
            self.asked(dns, call, &mut shape);
            return shape;
        };
        shape.action.clone_from(action);
        let outcome = match dry {
            true => dns.plan(action, to, call).map(|(plan, lines)| {
                shape.words.push(format!("{action} to {} would change {} lines", plan.target, lines.len()));
                shape.difference = Some(lines);
            }),
            false => dns.run(action, to, call).map(|done| {
                let how = if done.changed { "done" } else { "was so already" };
                shape.words.push(format!("{action} to {}: {how}", done.plan.target));
                (shape.changed, shape.last) = (done.changed, Some(done.last));
                // It is done, whoever has not heard of it.
                shape.servers(done.verified, Status::Partial);
                shape.ready();
                shape.found(done.findings);
            }),
        };
        shape.ended(outcome);
        shape
    }

    /// What points nowhere else.
    fn asked(&self, dns: &Dns, call: &Call, shape: &mut Shape) {
        shape.last = dns.last().ok().flatten();
        let outcome = match &self.order {
            Order::Undo(_) => {
                shape.action = "UNDO".into();
                let last = shape.last.take();
                dns.release(call).map(|found| {
                    let is_left = found.iter().any(|finding| finding.what.contains("pointed elsewhere"));
                    match last {
                        Some(_) if is_left => {}
                        Some(Last { action, target, .. }) => shape.words.push(format!("{action} to {target}: undone")),
                        None => shape.words.push("there is nothing to bring back".into()),
                    }
                    shape.found(found);
                })
            }
            Order::Lint(_) => {
                shape.last = None;
                dns.lint(call).map(|found| shape.linted(found))
            }
            _ => {
                let verified = dns.verify(call).map(|verified| shape.servers(Some(verified), Status::Failed));
                shape.ready();
                verified
            }
        };
        shape.ended(outcome);
    }
}

impl Order {
    fn which(&self) -> (&Chosen, bool) {
        match self {
            Order::Prepare(which) | Order::Restore(which) => (&which.chosen, which.dry_run),
            Order::Failover(order) => (&order.which.chosen, order.which.dry_run),
            Order::Run(order) => (&order.which.which.chosen, order.which.which.dry_run),
            Order::Undo(chosen) | Order::Verify(chosen) | Order::Lint(chosen) => (chosen, false),
        }
    }
}

impl Failover {
    fn target(&self, domain: &Domain, node: &str) -> Result<String, Failure> {
        let others: Vec<&str> = domain.nodes.iter().map(|(name, _)| name.as_str()).filter(|name| *name != domain.home).collect();
        match &self.to {
            Some(to) => Ok(to.clone()),
            None if node != domain.home => Ok(node.to_owned()),
            None if others.len() == 1 => Ok(others[0].to_owned()),
            None => Err(Failure::usage(format!("{node} is home of {}: it cannot fail over to itself", domain.domain))
                .hint(format!("name another with --to: {}", others.join(", ")))),
        }
    }
}

/// By hand, and for the newest epoch that this node knows: what a later takeover does counts more.
fn call(file: &NodeFile) -> Result<Call, Failure> {
    let state = &file.node.state;
    let seen = kept::member(state).map_err(super::failure)?.seen.0;
    let reign = Reign::written(state).map_err(super::failure)?.map_or(0, |reign| reign.epoch);
    Ok(Call {
        cluster: file.cluster.clone(),
        epoch: seen.max(reign),
        node: file.node.name.clone(),
        within: WITHIN,
        lifetime: None,
    })
}

/// How bad it is, the worst last.
fn rank(status: Status) -> u8 {
    match status {
        Status::Done => 0,
        Status::Partial => 1,
        Status::Usage => 2,
        Status::Refused => 3,
        Status::Failed => 4,
    }
}

impl Shape {
    fn worse(&mut self, status: Status) {
        if self.status.is_none_or(|known| rank(known) < rank(status)) {
            self.status = Some(status);
        }
    }

    fn found(&mut self, found: Vec<Finding>) {
        for Finding { level, what, hint } in found {
            let level = match level {
                Level::Note => "note",
                Level::Warning => "warning",
                Level::Fault => "fault",
            };
            if level != "note" {
                self.worse(Status::Partial);
            }
            self.findings.push(FindingShape { level, what, hint });
        }
    }

    fn linted(&mut self, found: Vec<Finding>) {
        if found.is_empty() {
            self.words.push("nothing would go wrong that could be seen".into());
        }
        if found.iter().any(|finding| finding.level == Level::Fault) {
            self.worse(Status::Refused);
        }
        self.found(found);
    }

    /// How bad it is that none has it, is said by whoever asked.
    fn servers(&mut self, verified: Option<Verified>, none: Status) {
        let Some(verified) = verified else { return };
        if !verified.is_well() {
            self.worse(if verified.well() == 0 { none } else { Status::Partial });
        }
        self.words.push(verified.to_string());
        self.servers = Some(verified.servers.into_iter().map(|(server, says)| ServerShape { server, says }).collect());
    }

    /// A preparation is over when nobody remembers what was before.
    fn ready(&mut self) {
        let Some(last) = self.last.as_ref().filter(|last| last.action == PREPARE) else { return };
        let left = last.ready_s.saturating_sub(super::now_ms() / 1000);
        self.words.push(match left {
            0 => "ready: nobody remembers the longer time any more".into(),
            _ => format!("ready in {}: until then some remember the longer time", human::duration(Duration::from_secs(left))),
        });
    }

    fn ended(&mut self, outcome: Result<(), recipes::Error>) {
        if let Err(error) = outcome {
            self.worse(if error.kind() == recipes::Kind::Refuse { Status::Refused } else { Status::Failed });
            self.hint = error.hint().map(str::to_owned);
            self.error = Some(recipes::told(&error));
        } else {
            self.worse(Status::Done);
        }
    }

    fn lines(&self) -> Vec<String> {
        let hinted = |what: &str, hint: &Option<String>| match hint {
            Some(hint) => format!("{what} ({hint})"),
            None => what.to_owned(),
        };
        let mut lines: Vec<String> = self.words.iter().map(|words| format!("{}: {words}", self.domain)).collect();
        lines.extend(self.difference.iter().flatten().cloned());
        lines.extend(
            self.findings
                .iter()
                .map(|finding| format!("{}: {}", finding.level, hinted(&finding.what, &finding.hint))),
        );
        lines.extend(self.error.iter().map(|error| format!("error: {}", hinted(error, &self.hint))));
        lines.into_iter().map(|line| human::text(line.as_bytes())).collect()
    }
}
