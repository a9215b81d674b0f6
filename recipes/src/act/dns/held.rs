//! Taken and released: pointing to this node, and bringing back what was there.

use super::plan::{same, wish};
use super::{Did, Dns, FAILOVER, Fault, RESTORE};
use crate::Error;
use crate::act::budget::Budget;
use crate::act::record::{Journal, Stage};
use crate::act::{Act, Call, Checked, Holds};
use crate::data::{Finding, Level};

const UNDO: &str = "UNDO";

impl Dns {
    /// Brings back what the record has, and says so where somebody pointed it elsewhere since.
    fn undo(&self, did: &mut Did, halfway: bool, run: (&Journal, &Call, &Budget), found: &mut Vec<Finding>) -> Result<(), Error> {
        let of: Vec<_> = did.after.iter().map(|set| (set.name.clone(), set.kind)).collect();
        let now = self.look(&of, run.2).map_err(self.failed(UNDO))?;
        let Some(before) = did.before.clone() else {
            let why = Fault::stop("what was there before could not be seen, so it cannot be brought back");
            return Err(self.failed(UNDO)(why.with("run `importer dns restore`")));
        };
        let is = |sets| now.as_ref().is_some_and(|now| same(now, sets, self.ttl()));
        if now.is_some() && !is(&before) && !is(&did.after) {
            let what = format!("{} was pointed elsewhere since, and is left as it is", self.domain());
            found.push(Finding::new(Level::Warning, what));
            return Ok(());
        }
        self.brought(UNDO, (now.as_deref(), &before), halfway, &mut did.serial, run)
    }

    /// With a record that cannot be read: what points here points home again.
    fn home(&self, call: &Call, run: (&Journal, &Call, &Budget)) -> Result<Did, Error> {
        let failed = self.failed(RESTORE);
        let plan = self.planned(RESTORE, &self.settings.home, run.2).map_err(&failed)?;
        let mut did = self.did(&plan, None);
        let here = call.node != self.settings.home && self.points_to(&call.node, run.2).map_err(&failed)? == Holds::Yes;
        if here {
            self.brought(RESTORE, (plan.now.as_deref(), &plan.want), true, &mut did.serial, run)?;
        }
        Ok(did)
    }

    /// Whether the names have the addresses that this node gives them when it becomes active.
    fn points_to(&self, node: &str, budget: &Budget) -> Result<Holds, Fault> {
        let wish = wish(&self.settings, &self.domain, &self.zone, self.taking(node), node)?;
        let Some(now) = self.look(&wish.of(), budget)? else { return Ok(Holds::Unknown) };
        let well = now.iter().zip(&wish.sets).filter(|(now, wish)| now.values == wish.values).count();
        Ok(match well {
            0 => Holds::No,
            all if all == now.len() => Holds::Yes,
            _ => Holds::Partly,
        })
    }
}

impl Act for Dns {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn check(&self, call: &Call) -> Result<Checked, Error> {
        let budget = self.budget(FAILOVER, call)?;
        let mut findings = self.place.findings::<Did>();
        let means = &self.settings.means;
        let seen = means.admitted(&self.zone, &budget).and_then(|()| self.points_to(&call.node, &budget));
        let holds = seen.unwrap_or_else(|fault| {
            findings.push(self.failed(self.taking(&call.node))(fault).finding());
            Holds::Unknown
        });
        Ok(Checked { holds, findings })
    }

    fn take(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        self.run(self.taking(&call.node), &call.node, call).map(|done| done.findings)
    }

    fn release(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget(UNDO, call)?;
        let journal = self.place.open("release", &budget)?;
        let mut found = Vec::new();
        let known = journal.known_or_lost::<Did>(call, &mut found)?;
        let run = (&journal, call, &budget);
        let did = match known {
            Some(known) if known.stage != Stage::Released => {
                let (mut did, halfway) = (known.did, known.stage.is_between());
                journal.note(call, Stage::Releasing, &did)?;
                self.undo(&mut did, halfway, run, &mut found)?;
                did
            }
            None if !found.is_empty() => self.home(call, run)?,
            _ => return Ok(found),
        };
        journal.note(call, Stage::Released, &did)?;
        if let Some(before) = &did.before {
            let verified = self.settled(before, &budget);
            found.extend(self.told(&did, false, verified.as_ref()));
        }
        Ok(found)
    }
}
