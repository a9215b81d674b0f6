//! Where a domain points now, as each of its authoritative servers says it: to which node, or to none.
//!
//! Values are compared, and not how long they are remembered: a name that was prepared points where it pointed. What was done here last counts for nothing.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::ask;
use super::name::Name;
use super::plan::wish;
use super::set::{Kind, Set};
use super::verify::{Server, of_all};
use super::{Dns, Fault};
use crate::Error;
use crate::act::Call;
use crate::act::budget::Budget;

const LOOK: &str = "LOOK";
/// How long one server may think about all questions.
const EACH: Duration = Duration::from_secs(3);

/// What one server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Points {
    /// To this node.
    To(String),
    /// To none of the nodes.
    Elsewhere(String),
    /// It says nothing that counts.
    Silent(String),
}

/// What there would be with each node as the active one.
struct Wished {
    node: String,
    sets: Vec<Set>,
}

impl Dns {
    /// Asks every authoritative server. Where several nodes have the same addresses, the node of the call comes first.
    pub fn points(&self, call: &Call) -> Result<Vec<(Server, Points)>, Error> {
        let budget = self.budget(LOOK, call)?;
        let wished = self.wished(&call.node).map_err(self.failed(LOOK))?;
        let servers = self
            .servers(&budget)
            .ok_or_else(|| Fault::stop("no server is known").with("name the zone's `servers`"));
        let servers = servers.and_then(|servers| servers.map_err(Fault::again)).map_err(self.failed(LOOK))?;
        let mut of: Vec<(Name, Kind)> = Vec::new();
        for set in wished.iter().flat_map(|wished| &wished.sets) {
            if !of.iter().any(|(name, kind)| set.is_of(name, *kind)) {
                of.push((set.name.clone(), set.kind));
            }
        }
        Ok(of_all(&servers, EACH, &budget, &Points::Silent, |at, budget| points(at, &of, &wished, budget)))
    }

    fn wished(&self, own: &str) -> Result<Vec<Wished>, Fault> {
        let mut nodes: Vec<&String> = self.settings.addresses.keys().collect();
        nodes.sort_by_key(|node| *node != own);
        let wished = |node: &String| {
            let wish = wish(&self.settings, &self.domain, &self.zone, self.taking(node), node)?;
            Ok(Wished { node: node.clone(), sets: wish.sets })
        };
        nodes.into_iter().map(wished).collect()
    }
}

fn points(at: SocketAddr, of: &[(Name, Kind)], wished: &[Wished], budget: &Budget) -> Points {
    let mut there = Vec::new();
    for (name, kind) in of {
        let said = match ask::set(at, name, *kind, budget) {
            Ok(said) => said,
            Err(why) => return Points::Silent(why),
        };
        if !said.authoritative {
            return Points::Silent(format!("it has no authority for {name}"));
        }
        if let Some(alias) = said.alias {
            return Points::Elsewhere(format!("{name} as an alias of {alias}"));
        }
        there.push(said.set);
    }
    let is = |wish: &Set| there.iter().any(|set| set.is_of(&wish.name, wish.kind) && set.values == wish.values);
    match wished.iter().find(|wished| wished.sets.iter().all(is)) {
        Some(wished) => Points::To(wished.node.clone()),
        None => Points::Elsewhere(there.iter().map(Set::to_string).collect::<Vec<_>>().join("; ")),
    }
}
