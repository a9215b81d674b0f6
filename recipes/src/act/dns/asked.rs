//! What is asked without changing anything: whether all servers have it, what was done last, and what would go wrong.

use super::lint::{Subject, lint};
use super::plan::wish;
use super::verify::{Verified, verify};
use super::{Did, Dns, FAILOVER, Fault, Last, Means, PREPARE, RESTORE, ask};
use crate::Error;
use crate::act::Call;
use crate::act::record::Stage;
use crate::data::{Finding, Level};

impl Did {
    /// For how many seconds from this time anybody may remember what was before. A clock that went back makes it no longer than it was.
    pub(super) fn remembered_at(&self, now_s: u64) -> u32 {
        let ready_s = self.since_s.saturating_add(self.remembered_s.into());
        u32::try_from(ready_s.saturating_sub(now_s)).map_or(self.remembered_s, |left| left.min(self.remembered_s))
    }

    pub(super) fn last(&self, epoch: u64) -> Last {
        let ready_s = self.since_s.saturating_add(self.remembered_s.into());
        Last { action: self.action.clone(), target: self.target.clone(), epoch, since_s: self.since_s, ready_s }
    }
}

impl Dns {
    /// What was done last here, if anything was and stands.
    pub fn last(&self) -> Result<Option<Last>, Error> {
        let known = self.place.read::<Did>()?.filter(|known| known.stage != Stage::Released);
        Ok(known.map(|known| known.did.last(known.epoch)))
    }

    /// Asks every authoritative server for what was done last; where nothing was, for what the source has.
    pub fn verify(&self, call: &Call) -> Result<Verified, Error> {
        let budget = self.budget("VERIFY", call)?;
        let failed = self.failed("VERIFY");
        let known = self.place.read::<Did>()?.filter(|known| known.stage == Stage::Taken);
        let want = match known {
            Some(known) => known.did.after,
            None => {
                let of = wish(&self.settings, &self.domain, &self.zone, RESTORE, &self.settings.home).map_err(&failed)?.of();
                let unseen =
                    || Fault::stop("nothing was done here yet, and it cannot be seen what there is").with("name the zone's `servers`");
                self.look(&of, &budget).and_then(|now| now.ok_or_else(unseen)).map_err(&failed)?
            }
        };
        let servers = self
            .servers(&budget)
            .ok_or_else(|| Fault::stop("no server is known").with("name the zone's `servers`"));
        let servers = servers.and_then(|servers| servers.map_err(Fault::again)).map_err(failed)?;
        Ok(verify(&servers, &want, self.ttl(), &budget))
    }

    /// What people find out too late.
    pub fn lint(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget("LINT", call)?;
        let failed = self.failed("LINT");
        let home = &self.settings.home;
        let mut found = Vec::new();
        for action in [PREPARE, RESTORE] {
            if let Err(fault) = wish(&self.settings, &self.domain, &self.zone, action, home) {
                found.push(failed(fault).finding());
            }
        }
        let admitted = self.settings.means.admitted(&self.zone, &budget);
        let is_admitted = admitted.is_ok();
        found.extend(admitted.err().map(|fault| failed(fault).finding()));
        let first = self.settings.servers.first().copied().or_else(|| self.settings.means.primary());
        for (node, addresses) in self.settings.addresses.iter().filter(|(node, _)| *node != home) {
            let moved = match wish(&self.settings, &self.domain, &self.zone, FAILOVER, node) {
                Ok(wish) => wish.sets,
                Err(fault) => {
                    found.push(failed(fault).finding());
                    continue;
                }
            };
            // What would be written is read by BIND, as it would be then.
            if let (Means::ZoneFile(_), true) = (&self.settings.means, is_admitted) {
                let tried = self.planned(FAILOVER, node, &budget).and_then(|plan| self.difference(&plan, &budget));
                found.extend(tried.err().map(|fault| failed(fault).finding()));
            }
            let subject = Subject {
                zone: &self.zone,
                domain: &self.domain,
                moved: &moved,
                home: self.settings.addresses.get(home).map(Vec::as_slice).unwrap_or_default(),
                others: addresses,
                objective: self.settings.objective,
            };
            let mut view = |name: &super::name::Name, kind| match (&self.settings.means, first) {
                (Means::ZoneFile(file), _) => {
                    let sets = file.look(&self.zone, &[(name.clone(), kind)], &budget).map_err(|fault| fault.to_string())?;
                    sets.into_iter().next().ok_or_else(|| "nothing was read".to_owned())
                }
                (_, Some(server)) => ask::set(server, name, kind, &budget).map(|said| said.set),
                (_, None) => Err("no server is known; name the zone's `servers`".to_owned()),
            };
            for finding in lint(&subject, &mut view).map_err(|why| failed(Fault::again(why)))? {
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
        if self.settings.means.keeps_ttl() && u64::from(self.settings.ttl_short_s) > self.settings.objective.as_secs() {
            let what = format!("{}: ttl_short is longer than the objective", self.domain());
            found.push(Finding::new(Level::Fault, what).hint("shorten it"));
        }
        found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        Ok(found)
    }
}
