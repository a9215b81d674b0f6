//! What an action wants: by the administrator's action files, or for the names that are listed.

use std::fs;
use std::net::IpAddr;

use super::fault::Fault;
use super::name::Name;
use super::overlay::{self, Meaning, of_kind};
use super::set::{Kind, Set};
use super::{FAILOVER, PREPARE, RESTORE, Settings};

const FILE_BYTES_MAX: u64 = 256 << 10;

/// What is and what should be, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub action: String,
    /// The node to which it points.
    pub target: String,
    /// Nothing where it cannot be seen.
    pub now: Option<Vec<Set>>,
    pub want: Vec<Set>,
}

/// What should be, before anybody looked.
pub(super) struct Wish {
    pub sets: Vec<Set>,
    /// Only for how long it is remembered; the values stay.
    pub keeps: bool,
}

impl Wish {
    pub fn of(&self) -> Vec<(Name, Kind)> {
        self.sets.iter().map(|set| (set.name.clone(), set.kind)).collect()
    }

    /// With what there is.
    pub fn meets(self, now: Option<&[Set]>) -> Result<Vec<Set>, Fault> {
        if !self.keeps {
            return Ok(self.sets);
        }
        let now =
            now.ok_or_else(|| Fault::stop("it cannot be seen what there is, so nothing can be kept").with("name the zone's `servers`"))?;
        let keep = |(wish, now): (Set, &Set)| {
            if !wish.values.is_empty() && wish.values != now.values {
                let what = format!("it would change what {} {} points to: it has {now}", now.name, now.kind);
                return Err(Fault::stop(what).with("that is what RESTORE does: do that first, or correct the action file"));
            }
            Ok(Set { ttl: if now.values.is_empty() { 0 } else { wish.ttl }, values: now.values.clone(), ..wish })
        };
        self.sets.into_iter().zip(now).map(keep).collect()
    }
}

/// What an action wants with this node as its target.
pub(super) fn wish(settings: &Settings, domain: &Name, zone: &Name, action: &str, to: &str) -> Result<Wish, Fault> {
    let of = |node: &str| {
        let known = settings.addresses.get(node).filter(|list| !list.is_empty());
        known.ok_or_else(|| {
            Fault::stop(format!("no address of {node} is known")).with("write it in the node file, as [[takeover.dns.node]]")
        })
    };
    let (home, there) = (of(&settings.home)?, of(to)?);
    let ttl = if action == RESTORE { settings.ttl_long_s } else { settings.ttl_short_s };
    let keeps = action == PREPARE;
    if let Some(folder) = &settings.actions {
        let path = folder.join(format!("{action}.ov"));
        let failed = |error: std::io::Error| Fault::stop(format!("cannot read the action file {}: {error}", path.display()));
        if fs::metadata(&path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(Fault::stop(format!("{} is too large for an action file", path.display())));
        }
        let text = fs::read(&path).map_err(failed)?;
        let meaning = Meaning { domain, zone, master: home, slave: there, ttl };
        let sets = overlay::sets(&text, &meaning).map_err(|wrong| Fault::stop(format!("{}: {wrong}", path.display())))?;
        return Ok(Wish { sets, keeps });
    }
    let points_to: &[IpAddr] = match action {
        FAILOVER => there,
        RESTORE => home,
        PREPARE => &[],
        _ => {
            return Err(Fault::stop(format!("the action {action} is not known")).with("other actions than the three need files: `actions`"));
        }
    };
    let mut sets = Vec::new();
    for name in &settings.names {
        let name = Name::parse(name.as_bytes(), Some(domain)).map_err(Fault::stop)?;
        for kind in [Kind::A, Kind::AAAA] {
            if !settings.addresses.values().flatten().any(|address| of_kind(address, kind).is_some()) {
                continue;
            }
            let values: std::collections::BTreeSet<_> = points_to.iter().filter_map(|address| of_kind(address, kind)).collect();
            let ttl = if values.is_empty() && !keeps { 0 } else { ttl };
            sets.push(Set { name: name.clone(), kind, ttl, values });
        }
    }
    Ok(Wish { sets, keeps })
}

/// Whether they are the same, with or without how long they are remembered.
pub(super) fn same(one: &[Set], other: &[Set], ttl: bool) -> bool {
    let like =
        |(one, other): (&Set, &Set)| one.is_of(&other.name, other.kind) && one.values == other.values && (!ttl || one.ttl == other.ttl);
    one.len() == other.len() && one.iter().zip(other).all(like)
}
