//! What this node does when it becomes active, and undoes when it is no more: the acts of `[takeover]`, in their order.
//!
//! Going up: services behind the closed gate, checks, then the gate, then addresses, then hooks. Going down: the gate, then addresses, services and hooks. Each act has its own
//! record of what it did, so what is undone is what was done, also by another process and after another configuration.
//!
//! A gate needs rights that not every host gives. Where it cannot be, this node says so (`guarded`), and nothing happens by itself.

use crate::takeover::addresses::{Addresses, Word};
use console::exit::Failure;
use console::node_file::{NodeFile, Takeover};
use election::Time;
use link::boot;
use recipes::act::systemd::{self, Binding};
use recipes::act::{Act, Call, Gate, Hook, Services, Units, gate, granted, hook, services};
use recipes::data::{Finding, Level};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The gate is two small batches; slower than this it has failed.
const GATE: Duration = Duration::from_millis(1500);
/// Binding units is a file each, and a word to systemd.
const BIND: Duration = Duration::from_secs(30);
const CHECK: Duration = Duration::from_secs(10);

pub struct Acting {
    cluster: String,
    node: String,
    granted: PathBuf,
    gate: Option<Gate>,
    addresses: Addresses,
    units: Option<Units>,
    commands: Vec<Services>,
    hooks: Vec<Hook>,
}

fn words(text: &[String]) -> Vec<OsString> {
    text.iter().map(OsString::from).collect()
}

fn failure(error: &recipes::Error) -> Failure {
    Failure::failed(link::pull::chain(error))
}

impl Acting {
    pub fn new(file: &NodeFile, takeover: &Takeover) -> Result<Acting, Failure> {
        let records = file.node.state.join("acts");
        let failed = |error: std::io::Error| Failure::failed(format!("cannot make {}: {error}", records.display()));
        archive::store::make_folder(&records, 0o700).map_err(failed)?;
        let granted = file.node.run.join("granted");
        let wrong = |error: recipes::Error| Failure::usage(format!("[takeover]: {}", link::pull::chain(&error)));
        let gate = match takeover.ports.is_empty() {
            true => None,
            false => Some(Gate::new(gate::Settings::new(takeover.ports.clone(), records.clone())).map_err(wrong)?),
        };
        let addresses = Addresses::new(&takeover.vips, &records, (&file.cluster, &file.node.name)).map_err(wrong)?;
        let units = match takeover.services.is_empty() {
            true => None,
            false => {
                let binding = Binding { granted: granted.clone(), ..Binding::default() };
                let settings = systemd::Settings { binding, ..systemd::Settings::new(takeover.services.clone(), records.clone()) };
                Some(Units::new(settings).map_err(wrong)?)
            }
        };
        let commands = takeover.commands.iter().map(|found| {
            let (start, stop, status) = (words(&found.start), words(&found.stop), words(&found.status));
            Services::new(services::Settings { name: format!("service-{}", found.name), start, stop, status, records: records.clone() })
        });
        let hooks = takeover.hooks.iter().map(|found| {
            let program = words(&found.program);
            Hook::new(hook::Settings { name: format!("hook-{}", found.name), program, checks: found.checks, records: records.clone() })
        });
        Ok(Acting {
            cluster: file.cluster.clone(),
            node: file.node.name.clone(),
            granted,
            gate,
            addresses,
            units,
            commands: commands.collect::<Result<_, _>>().map_err(wrong)?,
            hooks: hooks.collect::<Result<_, _>>().map_err(wrong)?,
        })
    }

    fn call(&self, epoch: u64, within: Duration) -> Call {
        Call { cluster: self.cluster.clone(), epoch, node: self.node.clone(), within, lifetime: None }
    }

    fn services(&self) -> impl DoubleEndedIterator<Item = &dyn Act> {
        let units = self.units.iter().map(|act| act as &dyn Act);
        units.chain(self.commands.iter().map(|act| act as &dyn Act))
    }

    /// Before anything else: units are bound, so that none starts before a grant.
    pub fn bind(&self) -> Result<(), Failure> {
        self.units.as_ref().map_or(Ok(()), |units| units.bind(BIND)).map_err(|error| failure(&error))
    }

    /// Addresses are taken, kept and taken away from here on.
    pub fn begin(&self, epoch: u64, tell: impl Fn(Word) + Send + Sync + 'static) -> Result<(), Failure> {
        let tell: Arc<dyn Fn(Word) + Send + Sync> = Arc::new(tell);
        self.addresses.begin(epoch, &tell)
    }

    /// Whether the kernel closes every port of the services without us. Services without a port named need something else that stops this host: it is not known here.
    pub fn is_guarded(&self) -> bool {
        let Some(gate) = &self.gate else { return self.units.is_none() && self.commands.is_empty() };
        let fault = |finding: &Finding| finding.level == Level::Fault;
        gate.check(&self.call(0, CHECK)).is_ok_and(|checked| !checked.findings.iter().any(fault))
    }

    /// Opens the gate, or keeps it open, until then, and has the addresses here for as long; the kernel ends both.
    pub fn open(&self, epoch: u64, until: Time) -> Result<(), Failure> {
        self.open_gate(epoch, until)?;
        self.addresses.keep(epoch, until);
        Ok(())
    }

    fn open_gate(&self, epoch: u64, until: Time) -> Result<(), Failure> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let lifetime = until.since(boot::now());
        if lifetime.is_zero() {
            return Ok(());
        }
        let call = Call { lifetime: Some(lifetime), ..self.call(epoch, GATE.min(lifetime)) };
        match gate.extend(&call) {
            Err(recipes::Error::NotHeld { .. }) => {
                let left = until.since(boot::now());
                let call = Call { lifetime: Some(left), ..self.call(epoch, GATE.min(left)) };
                gate.take(&call).map(drop)
            }
            extended => extended.map(drop),
        }
        .map_err(|error| failure(&error))
    }

    /// Closes the gate, and has the addresses taken away.
    pub fn close(&self, epoch: u64) -> Result<(), Failure> {
        let gate = self.gate.as_ref().map_or(Ok(vec![]), |gate| gate.release(&self.call(epoch, GATE)));
        self.addresses.release(epoch);
        gate.map(drop).map_err(|error| failure(&error))
    }

    /// Says to everything on this host that it may be active.
    pub fn grant(&self, epoch: u64) -> Result<(), Failure> {
        granted::give(&self.granted, epoch).map_err(|error| failure(&error))
    }

    /// Starts the services, one after the other, each tried again while `goes_on` says so.
    pub fn start(&self, epoch: u64, each: Duration, goes_on: &dyn Fn() -> bool) -> Result<(), Failure> {
        for act in self.services() {
            loop {
                let Err(error) = act.take(&self.call(epoch, each)) else { break };
                if !goes_on() {
                    return Err(failure(&error));
                }
            }
        }
        Ok(())
    }

    /// Whether the addresses could be here.
    pub fn addresses_are_free(&self) -> Result<(), recipes::Error> {
        self.addresses.are_free(CHECK)
    }

    /// Stops all of them, with force in the end; tries each, whatever became of the one before it. Addresses are gone as well when it is done.
    pub fn stop(&self, epoch: u64, within: Duration) -> Result<(), Failure> {
        self.addresses.release(epoch);
        let withdrawn = granted::withdraw(&self.granted).map_err(|error| failure(&error));
        let until = boot::now() + within;
        let mut outcome = withdrawn;
        for act in self.services().collect::<Vec<_>>().into_iter().rev() {
            let left = until.since(boot::now()).max(Duration::from_millis(200));
            outcome = outcome.and(act.release(&self.call(epoch, left)).map(drop).map_err(|error| failure(&error)));
        }
        outcome.and(self.addresses.are_gone(until.max(boot::now() + Duration::from_millis(200))))
    }

    /// Restarts what an application's check found down.
    pub fn restart(&self, epoch: u64, each: Duration) -> Result<(), Failure> {
        for act in self.services() {
            act.release(&self.call(epoch, each)).map_err(|error| failure(&error))?;
        }
        self.start(epoch, each, &|| false)
    }

    /// What goes wrong with hooks degrades; it undoes no takeover.
    pub fn announce(&self, epoch: u64, up: bool, within: Duration) -> Vec<String> {
        let call = self.call(epoch, within);
        let done = self.hooks.iter().map(|hook| if up { hook.take(&call) } else { hook.release(&call) });
        done.filter_map(|done| Some(link::pull::chain(&done.err()?))).collect()
    }
}
