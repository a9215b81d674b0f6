//! The `services` act by units of systemd.
//!
//! Taken, the file `granted` is there, and `resilient-active.target` and all units are active. Released, the file is gone, and no
//! unit has a process left: units are asked to stop, and for the last part of the budget whatever is in their control groups
//! gets SIGKILL, over D-Bus and by the kernel's own list, which needs no systemd that answers. The groups stand in the record.
//!
//! The units have to be bound to the target (`Units::bind`), so that none starts at boot, and none is started again when its
//! processes are killed: its condition, the file, is gone by then.
//!
//! Left out on purpose: watching that units stay up; what they write, which the journal has.

mod binding;
mod bus;
mod marshal;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::record::{Place, Record, Stage};
use super::{Act, Call, Checked, Holds, cgroup, granted};
use crate::Error;
use crate::data::{Finding, Level};
pub use binding::{Binding, FOLDER, TARGET};
pub use bus::Address;
use bus::{Bus, Fault};
use marshal::{Argument, Value};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// The part of a budget that is kept for killing: one in so many.
const KILLING: u32 = 4;
const KILLING_MOST: Duration = Duration::from_secs(5);
const SIGKILL: i32 = 9;

#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    /// With their endings. They are started at once; their own `After=` orders them.
    pub units: Vec<String>,
    pub binding: Binding,
    pub address: Address,
    /// Where the records of acts lie; this one's is `NAME.json`.
    pub records: PathBuf,
}

impl Settings {
    pub fn new(units: Vec<String>, records: PathBuf) -> Settings {
        Settings { name: "units".into(), units, binding: Binding::default(), address: Address::system(), records }
    }
}

#[derive(Debug, Clone)]
pub struct Units {
    place: Place,
    units: Vec<String>,
    binding: Binding,
    address: Address,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Did {
    target: String,
    granted: PathBuf,
    units: Vec<Unit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Unit {
    name: String,
    /// Its control group, once it was started.
    group: Option<String>,
}

/// One call at work.
struct Work<'a> {
    name: &'a str,
    action: &'static str,
    budget: &'a Budget,
    bus: Bus<'a>,
}

impl Units {
    pub fn new(settings: Settings) -> Result<Units, Error> {
        let Settings { name, units, binding, address, records } = settings;
        let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        for unit in units.iter().chain([&binding.target]) {
            if !unit.contains('.') || unit.starts_with('.') || !unit.chars().all(fits) {
                return Err(Error::Settings { reason: format!("{unit:?} is not the name of a unit with its ending, as in shop.service") });
            }
        }
        if units.is_empty() {
            return Err(Error::Settings { reason: format!("{name} names no unit") });
        }
        Ok(Units { place: Place::new(&records, &name)?, units, binding, address })
    }

    /// Binds the units to the target, so that none starts before a grant. Done again, it changes nothing.
    pub fn bind(&self, within: Duration) -> Result<(), Error> {
        self.binding.write(&self.units)?;
        let budget = self.budget("bind", within)?;
        // Even when nothing was written: whoever wrote it may have been killed before systemd was told.
        self.work("bind", &budget)?.ask("Reload", &[]).map(drop)
    }

    fn budget(&self, action: &'static str, time: Duration) -> Result<Budget, Error> {
        Budget::of(time).map_err(|source| Error::Act { action, name: self.place.name().into(), source })
    }

    fn work<'a>(&'a self, action: &'static str, budget: &'a Budget) -> Result<Work<'a>, Error> {
        let name = self.place.name();
        let bus = Bus::open(&self.address, budget).map_err(|fault| Error::Act { action, name: name.into(), source: fault.into() })?;
        Ok(Work { name, action, budget, bus })
    }

    /// What is to be taken, and what an earlier call took and did not release.
    fn did(&self, known: Option<Record<Did>>) -> Did {
        let mut units: Vec<Unit> = self.units.iter().map(|name| Unit { name: name.clone(), group: None }).collect();
        for unit in known.filter(|known| known.stage != Stage::Released).into_iter().flat_map(|known| known.did.units) {
            match units.iter_mut().find(|own| own.name == unit.name) {
                Some(own) => own.group = unit.group,
                None => units.push(unit),
            }
        }
        Did { target: self.binding.target.clone(), granted: self.binding.granted.clone(), units }
    }

    /// Whether systemd knows a unit as bound as its files say.
    fn check_unit(&self, work: &mut Work, unit: &str, found: &mut Vec<Finding>) -> Result<bool, Error> {
        let fault = |what: String, hint: &str| Finding::new(Level::Fault, what).hint(hint);
        let path = match work.ask("LoadUnit", &[Argument::Text(unit)])? {
            Value::Text(path) => path,
            _ => return Err(work.failed(marshal::broken("a unit without a path"))),
        };
        let loaded = work.text(&path, "LoadState")?;
        if loaded != "loaded" {
            found.push(fault(format!("systemd cannot start {unit}: it is {loaded}"), "install it, or take it out of the node file"));
            return Ok(false);
        }
        let bound = ["Requisite", "After", "PartOf"];
        let drop_in = self.binding.drop_in(unit).display().to_string();
        let mut has = |property: &str, word: &str| Ok::<_, Error>(work.texts(&path, property)?.iter().any(|other| other == word));
        let mut whole = has("DropInPaths", &drop_in)?;
        for property in bound {
            whole &= has(property, &self.binding.target)?;
        }
        if !whole {
            found.push(fault(format!("{unit} is not bound to {}", self.binding.target), "bind the units, or let systemd reload"));
        }
        for property in ["Requires", "BindsTo"] {
            if has(property, &self.binding.target)? {
                let what = format!("{unit} has {property}={}: enabled, it would start that at boot", self.binding.target);
                found.push(fault(what, "remove that line from its files"));
            }
        }
        Ok(work.text(&path, "ActiveState")? == "active")
    }
}

impl Work<'_> {
    fn failed(&self, error: impl Into<std::io::Error>) -> Error {
        Error::Act { action: self.action, name: self.name.into(), source: error.into() }
    }

    fn ask(&mut self, member: &str, arguments: &[Argument]) -> Result<Value, Error> {
        self.bus.ask(member, arguments).map_err(|fault| self.failed(fault))
    }

    fn property(&mut self, path: &str, interface: &str, name: &str) -> Result<Value, Error> {
        self.bus.property(path, interface, name).map_err(|fault| self.failed(fault))
    }

    fn text(&mut self, path: &str, name: &str) -> Result<String, Error> {
        match self.property(path, UNIT, name)? {
            Value::Text(text) => Ok(text),
            _ => Err(self.failed(marshal::broken("a property that is no text"))),
        }
    }

    fn texts(&mut self, path: &str, name: &str) -> Result<Vec<String>, Error> {
        match self.property(path, UNIT, name)? {
            Value::Texts(texts) => Ok(texts),
            _ => Err(self.failed(marshal::broken("a property that is no list"))),
        }
    }

    /// None for a unit that is not loaded.
    fn path(&mut self, unit: &str) -> Result<Option<String>, Error> {
        match self.bus.ask("GetUnit", &[Argument::Text(unit)]) {
            Ok(Value::Text(path)) => Ok(Some(path)),
            Ok(_) => Err(self.failed(marshal::broken("a unit without a path"))),
            Err(fault) if fault.is_no_unit() => Ok(None),
            Err(fault) => Err(self.failed(fault)),
        }
    }

    fn state(&mut self, unit: &str) -> Result<String, Error> {
        match self.path(unit)? {
            Some(path) => self.text(&path, "ActiveState"),
            None => Ok("inactive".into()),
        }
    }

    fn group(&mut self, unit: &str) -> Result<Option<String>, Error> {
        let Some(path) = self.path(unit)? else { return Ok(None) };
        // What is no service has none, or another interface for it.
        match self.bus.property(&path, SERVICE, "ControlGroup") {
            Ok(Value::Text(group)) if !group.is_empty() => Ok(Some(group)),
            Ok(_) | Err(Fault::Said(..)) => Ok(None),
            Err(fault) => Err(self.failed(fault)),
        }
    }

    fn start(&mut self, unit: &str) -> Result<(), Error> {
        // A unit that failed too often would not be tried again; one that did not fail has nothing to be reset.
        let _ = self.bus.ask("ResetFailedUnit", &[Argument::Text(unit)]);
        self.ask("StartUnit", &[Argument::Text(unit), Argument::Text("replace")]).map(drop)
    }

    fn wait_for(&mut self, unit: &str) -> Result<(), Error> {
        loop {
            let Some(path) = self.path(unit)? else { return Err(self.failed(std::io::Error::other(format!("{unit} is gone")))) };
            let waits = !matches!(self.property(&path, UNIT, "Job")?, Value::Job(0, _));
            let state = self.text(&path, "ActiveState")?;
            match state.as_str() {
                "active" | "reloading" => return Ok(()),
                "failed" | "inactive" if !waits => return Err(self.why_not(unit, &path, &state)?),
                _ if self.budget.is_over() => {
                    return Err(self.failed(std::io::Error::other(format!("{unit} is still {state}"))));
                }
                _ => self.budget.pause(ASK_AGAIN).map_err(|error| self.failed(error))?,
            }
        }
    }

    fn why_not(&mut self, unit: &str, path: &str, state: &str) -> Result<Error, Error> {
        let met = self.property(path, UNIT, "ConditionResult")? != Value::Number(0);
        let result = match self.bus.property(path, SERVICE, "Result") {
            Ok(Value::Text(result)) if result != "success" => format!(" ({result})"),
            _ => String::new(),
        };
        let why = if met {
            format!("{unit} is {state}{result}; see `journalctl -u {unit}`")
        } else {
            format!("a condition of {unit} does not hold")
        };
        Ok(self.failed(std::io::Error::other(why)))
    }

    /// What still has processes, or is not known to have ended.
    fn left(&mut self, did: &Did) -> Result<Vec<String>, Error> {
        let mut left = Vec::new();
        for unit in &did.units {
            let state = self.state(&unit.name)?;
            let many = inhabitants(unit).map_err(|error| self.failed(error))?;
            if !matches!(state.as_str(), "inactive" | "failed") {
                left.push(format!("{} is {state}", unit.name));
            } else if many > 0 {
                left.push(format!("{} has {many} processes left", unit.name));
            }
        }
        Ok(left)
    }

    fn stop(&mut self, did: &mut Did, found: &mut Vec<Finding>) -> Result<(), Error> {
        for unit in &mut did.units {
            unit.group = self.group(&unit.name)?.or(unit.group.take());
        }
        for name in did.units.iter().map(|unit| &unit.name).chain([&did.target]) {
            match self.bus.ask("StopUnit", &[Argument::Text(name), Argument::Text("replace")]) {
                Ok(_) => (),
                Err(fault) if fault.is_no_unit() => (),
                Err(fault) => return Err(self.failed(fault)),
            }
        }
        let reserve = (self.budget.whole() / KILLING).min(KILLING_MOST);
        let mut killed = false;
        loop {
            let left = self.left(did)?;
            if left.is_empty() {
                return Ok(());
            }
            if self.budget.left() <= reserve {
                if !killed {
                    let what = format!("did not end in time, and everything of it was killed: {}", left.join(", "));
                    found.push(Finding::new(Level::Warning, what));
                    killed = true;
                }
                for unit in &did.units {
                    let all = [Argument::Text(&unit.name), Argument::Text("all"), Argument::Number(SIGKILL)];
                    // That nothing is there to be killed is no trouble, and the kernel's list comes after.
                    let _ = self.bus.ask("KillUnit", &all);
                }
                kill(did).map_err(|error| self.failed(error))?;
            }
            self.budget.pause(ASK_AGAIN).map_err(|error| self.failed(error))?;
            if self.budget.is_over() {
                return Err(Error::StillRuns { name: self.name.into(), left: left.join(", ") });
            }
        }
    }
}

fn inhabitants(unit: &Unit) -> std::io::Result<usize> {
    Ok(unit
        .group
        .as_ref()
        .map(|group| cgroup::inhabitants(group))
        .transpose()?
        .map_or(0, |pids| pids.len()))
}

fn kill(did: &Did) -> std::io::Result<()> {
    did.units.iter().filter_map(|unit| unit.group.as_ref()).try_for_each(|group| cgroup::kill(group))
}

/// When systemd cannot be asked: what the record names is killed, and the error stays one, since nobody knows what else there is.
fn kill_unasked(did: &Did, error: Error) -> Error {
    // That it cannot be asked is what a person has to know; killing is the best that is left.
    let _ = kill(did);
    error
}

impl Act for Units {
    fn name(&self) -> &str {
        self.place.name()
    }

    fn check(&self, call: &Call) -> Result<Checked, Error> {
        let budget = self.budget("check", call.within)?;
        let mut findings = self.place.findings::<Did>();
        findings.extend(self.binding.check(&self.units));
        let mut work = match self.work("check", &budget) {
            Ok(work) => work,
            Err(error) => {
                findings.push(error.finding());
                return Ok(Checked { holds: Holds::Unknown, findings });
            }
        };
        let mut active = 0;
        for unit in &self.units {
            active += usize::from(self.check_unit(&mut work, unit, &mut findings)?);
        }
        let holds = match active {
            0 => Holds::No,
            all if all == self.units.len() && granted::is_given(&self.binding.granted) => Holds::Yes,
            _ => Holds::Partly,
        };
        Ok(Checked { holds, findings })
    }

    fn take(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget("take", call.within)?;
        let journal = self.place.open("take", &budget)?;
        let mut did = self.did(journal.known::<Did>(call)?);
        journal.note(call, Stage::Taking, &did)?;
        granted::give(&self.binding.granted, call.epoch)?;
        let mut work = self.work("take", &budget)?;
        work.start(&self.binding.target)?;
        work.wait_for(&self.binding.target)?;
        for unit in &self.units {
            work.start(unit)?;
        }
        for unit in &self.units {
            work.wait_for(unit)?;
        }
        for unit in &mut did.units {
            unit.group = work.group(&unit.name)?.or(unit.group.take());
        }
        journal.note(call, Stage::Taken, &did)?;
        Ok(Vec::new())
    }

    fn release(&self, call: &Call) -> Result<Vec<Finding>, Error> {
        let budget = self.budget("release", call.within)?;
        let journal = self.place.open("release", &budget)?;
        let mut found = Vec::new();
        let mut did = self.did(journal.known_or_lost::<Did>(call, &mut found)?);
        journal.note(call, Stage::Releasing, &did)?;
        for file in [&did.granted, &self.binding.granted] {
            granted::withdraw(file)?;
        }
        let mut work = match self.work("release", &budget) {
            Ok(work) => work,
            Err(error) => return Err(kill_unasked(&did, error)),
        };
        if let Err(error) = work.stop(&mut did, &mut found) {
            return Err(kill_unasked(&did, error));
        }
        journal.note(call, Stage::Released, &did)?;
        Ok(found)
    }
}
