//! The `services` act by commands: one service that three programs of the administrator's start, stop and tell the state of.
//!
//! `status` ends with 0 when it runs and with 1, 2 or 3 when it does not; anything else says that nobody knows. `start` may
//! leave the service running, in whatever sessions it likes: what it starts carries a mark (`processes`), so that nothing of it
//! escapes. What it says goes to `NAME.said` beside the record, anew with each start.
//!
//! Released it is only when `status` says that it does not run *and* nothing marked is left. Stopping is graceful for the
//! larger part of the budget: then all that is left gets SIGKILL, a `start` that is still at work as well. A service that ran
//! before it was taken is taken over without a restart; it has no mark, so then only its own `stop` can end it, and that is said.
//!
//! Left out on purpose: watching that it stays up, and starting it again.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::processes::{self, MARK};
use super::program::{Told, Words, last_words, unfit};
use super::record::{Journal, Place, Stage};
use super::{Act, Call, Checked, Holds};
use crate::Error;
use crate::command::process::Process;
use crate::data::{Finding, Level};

/// How often the state is asked while something is waited for.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// The part of a budget that is kept for killing: one in so many.
const KILLING: u32 = 4;
const KILLING_MOST: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    /// Programs, by their absolute paths, and their arguments.
    pub start: Vec<OsString>,
    pub stop: Vec<OsString>,
    pub status: Vec<OsString>,
    /// Where the records of acts lie; this one's is `NAME.json`.
    pub records: PathBuf,
}

#[derive(Debug, Clone)]
pub struct Services {
    place: Place,
    start: Words,
    did: Did,
}

/// What a release needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Did {
    stop: Words,
    status: Words,
    mark: String,
}

/// One call at work.
struct Work<'a> {
    name: &'a str,
    call: &'a Call,
    budget: Budget,
}

impl Services {
    pub fn new(settings: Settings) -> Result<Services, Error> {
        let Settings { name, start, stop, status, records } = settings;
        let place = Place::new(&records, &name)?;
        let mark = place.with("mark").display().to_string();
        let did = Did { stop: Words::new(&stop)?, status: Words::new(&status)?, mark };
        Ok(Services { start: Words::new(&start)?, did, place })
    }

    fn work<'a>(&'a self, action: &'static str, call: &'a Call) -> Result<Work<'a>, Error> {
        let name = self.place.name();
        let budget = Budget::of(call.within).map_err(|source| Error::Act { action, name: name.into(), source })?;
        Ok(Work { name, call, budget })
    }

    fn start(&self, work: &Work) -> Result<(), Error> {
        let said = self.place.with("said");
        let open = || File::options().append(true).create(true).mode(0o600).open(&said);
        let (out, err) = open()
            .and_then(|out| out.set_len(0).and_then(|()| Ok((out.try_clone()?, out))))
            .map_err(|error| Error::io("write", &said, error))?;
        let mut command = self.start.command(&Told::of("start", work.name, work.call, &work.budget));
        // Nothing that is left running may hold the lock, so this one reads nothing.
        command.stdin(std::process::Stdio::null()).stdout(out).stderr(err).env(MARK, &self.did.mark);
        let process = Process::start_leaving(command, work.budget.left()).map_err(|source| self.start.unstarted(source))?;
        process.run().map_err(|source| {
            let words = last_words(&said);
            let source = if words.is_empty() { source } else { std::io::Error::other(format!("{source}; it said: {words}")) };
            Error::Ran { program: self.start.program(), source }
        })
    }

    fn bring_up(&self, work: &Work) -> Result<(), Error> {
        self.start(work)?;
        loop {
            match work.state(&self.did)? {
                Holds::Yes => return Ok(()),
                _ if work.budget.is_over() => {
                    let words = last_words(&self.place.with("said"));
                    let why = if words.is_empty() { "its status never said that it runs".into() } else { format!("it said: {words}") };
                    return Err(work.failed("start", std::io::Error::other(why)));
                }
                _ => work.budget.pause(ASK_AGAIN).map_err(|error| work.failed("start", error))?,
            }
        }
    }
}

impl Work<'_> {
    fn failed(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Act { action, name: self.name.into(), source }
    }

    /// Whether it runs, by its own word.
    fn state(&self, did: &Did) -> Result<Holds, Error> {
        let told = Told::of("status", self.name, self.call, &self.budget);
        // One that hangs must leave time for others.
        let (code, _) = did.status.status(&told, self.budget.left().max(ASK_AGAIN) / 2)?;
        Ok(match code {
            Some(0) => Holds::Yes,
            Some(1..=3) => Holds::No,
            _ => Holds::Unknown,
        })
    }

    fn marked(&self, did: &Did) -> Result<usize, Error> {
        Ok(processes::marked(&did.mark).map_err(|error| self.failed("look at", error))?.len())
    }

    fn is_gone(&self, did: &Did) -> Result<bool, Error> {
        Ok(self.marked(did)? == 0 && self.state(did)? == Holds::No)
    }

    /// As its own program does it, until the time for that is over. How that went is seen by what is left.
    fn ask_to_stop(&self, journal: &Journal, did: &Did, found: &mut Vec<Finding>) -> Result<(), Error> {
        let reserve = (self.budget.whole() / KILLING).min(KILLING_MOST);
        let told = Told::of("stop", self.name, self.call, &self.budget);
        if let Err(error) = did.stop.run(journal, &told, self.budget.left().saturating_sub(reserve)) {
            let mut finding = error.finding();
            finding.level = Level::Warning;
            found.push(finding);
        }
        while self.budget.left() > reserve && !self.is_gone(did)? {
            self.budget.pause(ASK_AGAIN).map_err(|error| self.failed("stop", error))?;
        }
        Ok(())
    }

    /// Whatever is left of what was started here.
    fn kill(&self, did: &Did, found: &mut Vec<Finding>) -> Result<(), Error> {
        let mut killed = false;
        while !processes::signal(&did.mark, Signal::KILL).map_err(|error| self.failed("kill", error))?.is_empty() {
            killed = true;
            if self.budget.is_over() {
                break;
            }
            self.budget.pause(Duration::from_millis(5)).map_err(|error| self.failed("kill", error))?;
        }
        if killed {
            found.push(Finding::new(Level::Warning, format!("{} did not end by itself and was killed", self.name)));
        }
        Ok(())
    }

    fn stop(&self, journal: &Journal, did: &Did, found: &mut Vec<Finding>) -> Result<(), Error> {
        if self.is_gone(did)? {
            return Ok(());
        }
        self.ask_to_stop(journal, did, found)?;
        self.kill(did, found)?;
        loop {
            let (marked, state) = (self.marked(did)?, self.state(did)?);
            if marked == 0 && state == Holds::No {
                return Ok(());
            }
            if self.budget.is_over() {
                let left = match (marked, state) {
                    (0, Holds::Yes) => "its status says that it runs, though nothing is left of what was started here".into(),
                    (0, _) => "nothing is left of what was started here, but its status does not say that it is stopped".into(),
                    (many, _) => format!("{many} of its processes cannot be killed"),
                };
                return Err(Error::StillRuns { name: self.name.into(), left });
            }
            self.budget.pause(ASK_AGAIN).map_err(|error| self.failed("stop", error))?;
        }
    }
}

impl Act for Services {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn check(&self, call: &Call) -> Result<Checked, Error> {
        let work = self.work("check", call)?;
        let mut findings = self.place.findings::<Did>();
        for words in [&self.start, &self.did.stop, &self.did.status] {
            let program = words.program();
            if let Some(reason) = unfit(&program) {
                let what = format!("{} {reason}", program.display());
                findings.push(Finding::new(Level::Fault, what).hint("put it there, executable, or name another in the node file"));
            }
        }
        if unfit(&self.did.status.program()).is_some() {
            return Ok(Checked { holds: Holds::Unknown, findings });
        }
        let (state, marked) = (work.state(&self.did)?, work.marked(&self.did)?);
        if state == Holds::Unknown {
            let what = format!("{} does not tell whether it runs", self.did.status.program().display());
            findings.push(Finding::new(Level::Fault, what).hint("it has to end with 0 when the service runs and with 3 when it does not"));
        }
        let holds = if state == Holds::No && marked > 0 { Holds::Partly } else { state };
        Ok(Checked { holds, findings })
    }

    fn take(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let work = self.work("take", call)?;
        let journal = self.place.open("take", &work.budget)?;
        let known = journal.known::<Did>(call)?;
        let mut found = Vec::new();
        journal.note(call, Stage::Taking, &self.did)?;
        if work.state(&self.did)? == Holds::Yes {
            if known.is_none_or(|known| known.stage == Stage::Released) || work.marked(&self.did)? == 0 {
                let what = format!("{} ran already, and was not started again", work.name);
                found.push(Finding::new(Level::Note, what).hint("only its own `stop` can end what was not started here"));
            }
        } else {
            // What a start that was cut short left behind would be in the way.
            work.kill(&self.did, &mut found)?;
            if let Err(error) = self.bring_up(&work) {
                work.kill(&self.did, &mut found)?;
                return Err(error);
            }
        }
        journal.note(call, Stage::Taken, &self.did)?;
        Ok(found)
    }

    fn release(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let work = self.work("release", call)?;
        let journal = self.place.open("release", &work.budget)?;
        let mut found = Vec::new();
        let known = journal.known_or_lost::<Did>(call, &mut found)?;
        let did = known.map_or_else(|| self.did.clone(), |known| known.did);
        journal.note(call, Stage::Releasing, &did)?;
        work.stop(&journal, &did, &mut found)?;
        journal.note(call, Stage::Released, &did)?;
        Ok(found)
    }
}
