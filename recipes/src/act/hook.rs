//! The `hook` act: any program of the administrator's, told what is done and for whom.
//!
//! It is run with `take` and with `release`, with the environment and the JSON that `program` names, and has to bring about what
//! it is told each time anew: the same call comes again after a kill, a restart, a retry. The epoch is the key by which it can
//! tell. It fails by another status than 0 or by its deadline, when its whole process group is killed.
//!
//! With `checks` it is also run with `check`, which must change nothing: status 0 says that it holds, 3 that it does not, any
//! other that it would not work. Without, nobody knows whether it holds: a program that never looks at what it is told would
//! take the act when asked.
//!
//! What the record says was taken is released by the program that took it, though the configuration may name another by now.
//! What was never taken is not released. Left out on purpose: what it leaves running, which is killed when it ends.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::program::{Told, Words, unfit};
use super::record::{Place, Stage};
use super::{Act, Call, Checked, Holds};
use crate::Error;
use crate::data::{Finding, Level};

#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    /// A program, by its absolute path, and its arguments.
    pub program: Vec<OsString>,
    /// Whether it knows `check`.
    pub checks: bool,
    /// Where the records of acts lie; this one's is `NAME.json`.
    pub records: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Hook {
    place: Place,
    words: Words,
    checks: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Did {
    program: Words,
}

impl Hook {
    pub fn new(settings: Settings) -> Result<Hook, Error> {
        let Settings { name, program, checks, records } = settings;
        Ok(Hook { place: Place::new(&records, &name)?, words: Words::new(&program)?, checks })
    }

    fn budget(&self, action: &'static str, call: &Call) -> Result<Budget, Error> {
        Budget::of(call.within).map_err(|source| Error::Act { action, name: self.place.name().into(), source })
    }
}

impl Act for Hook {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn check(&self, call: &Call) -> Result<Checked, Error> {
        let mut findings = self.place.findings::<Did>();
        let program = self.words.program();
        if let Some(reason) = unfit(&program) {
            let what = format!("{} {reason}", program.display());
            let hint = "put it there, executable and writable by its owner alone, or name another in the node file";
            findings.push(Finding::new(Level::Fault, what).hint(hint));
            return Ok(Checked { holds: Holds::Unknown, findings });
        }
        if !self.checks {
            return Ok(Checked { holds: Holds::Unknown, findings });
        }
        let budget = self.budget("check", call)?;
        let (code, ended) = self.words.status(&Told::of("check", self.name(), call, &budget), budget.left())?;
        let holds = match (code, ended) {
            (Some(0), Ok(())) => Holds::Yes,
            (Some(3), _) => Holds::No,
            (_, ended) => {
                let error = ended.err().unwrap_or_else(|| std::io::Error::other("it ended at its deadline"));
                findings.push(Error::Ran { program, source: error }.finding());
                Holds::Unknown
            }
        };
        Ok(Checked { holds, findings })
    }

    fn take(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget("take", call)?;
        let journal = self.place.open("take", &budget)?;
        journal.known::<Did>(call)?;
        let did = Did { program: self.words.clone() };
        journal.note(call, Stage::Taking, &did)?;
        self.words.run(&journal, &Told::of("take", self.name(), call, &budget), budget.left())?;
        journal.note(call, Stage::Taken, &did)?;
        Ok(Vec::new())
    }

    fn release(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget("release", call)?;
        let journal = self.place.open("release", &budget)?;
        let mut found = Vec::new();
        let known = journal.known_or_lost::<Did>(call, &mut found)?;
        let (did, taken_epoch) = match known {
            Some(known) if known.stage != Stage::Released => (known.did, Some(known.epoch)),
            None if !found.is_empty() => (Did { program: self.words.clone() }, None),
            _ => return Ok(found),
        };
        journal.note(call, Stage::Releasing, &did)?;
        let told = Told { taken_epoch, ..Told::of("release", self.name(), call, &budget) };
        did.program.run(&journal, &told, budget.left())?;
        journal.note(call, Stage::Released, &did)?;
        Ok(found)
    }
}
