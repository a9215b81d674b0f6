//! What the daemon gives, and to whom.

use super::Daemon;
use crate::members::Rejected;
use archive::repository::Repository;
use link::identity::Pin;
use link::message::{Head, Join, Joined, Report};
use link::post::Said;
use link::repositories::Dataset;
use link::role::{Caller, Role};
use link::routes::{Refusal, Shelf, Word};
use link::server::Upgraded;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

pub struct Archive {
    pub daemon: Arc<Daemon>,
}

impl Archive {
    fn take_in(&self, caller: &Caller, join: &Join) -> Result<Joined, Refusal> {
        let pin = caller.pin.ok_or_else(|| Refusal::not_yours("show the key that is to be known here"))?;
        let now = (self.daemon.around.clock)();
        let _turn = self.daemon.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let member = self
            .daemon
            .members
            .take_in(join, pin, caller.address.ip(), now)
            .map_err(|rejected| match rejected {
                Rejected::Invitation(why) => Refusal::not_yours(format!("the invitation does not work: {why}")),
                Rejected::State(error) => Refusal::failed(link::pull::chain(&error)),
            })?;
        let reigns = self.daemon.crown(&member).map_err(|error| Refusal::failed(link::pull::chain(&error)))?;
        Ok(Joined {
            epoch: reigns.map(|reigns| reigns.epoch),
            cluster: member.cluster,
            name: member.name,
            active: member.active,
            receipt: self.daemon.pulls.receipt().to_string(),
        })
    }
}

impl Archive {
    /// Keeps what a receiver says that it holds, and its evidence.
    fn take_note(&self, caller: &Caller, report: Report) -> Result<(), Refusal> {
        let dataset = Dataset { cluster: report.cluster.clone(), name: report.dataset.clone() };
        let repositories = &self.daemon.pulls.repositories;
        let (Role::Node { name, .. } | Role::Follower { name }) = &caller.role else { return Ok(()) };
        if !repositories.layout().datasets().contains(&dataset) {
            return Ok(());
        }
        let member = caller.pin.and_then(|pin| self.daemon.members.now().get(&pin).cloned());
        if let (Some(text), Some(member)) = (&report.evidence, member) {
            crate::evidence::keep(&*repositories.open(&dataset)?, &member, text)?;
        }
        let kept = self.daemon.reports.keep(name, report, (self.daemon.around.clock)());
        kept.map_err(|error| Refusal::failed(link::pull::chain(&error)))
    }
}

impl Shelf for Archive {
    fn role(&self, pin: &Pin) -> Role {
        match self.daemon.members.role(pin) {
            Role::Stranger if self.daemon.leaders().contains_key(pin) => Role::Leader,
            role => role,
        }
    }

    fn gave(&self, caller: &Caller, bytes: u64) {
        caller.pin.iter().for_each(|pin| self.daemon.given.count(pin, bytes));
    }

    fn heads(&self, caller: &Caller) -> Result<Vec<Head>, Refusal> {
        let mut heads = self.daemon.pulls.repositories.heads(&|dataset| caller.role.sees(&dataset.cluster));
        if let Role::Follower { .. } = caller.role {
            let mut signers: HashMap<String, Vec<String>> = HashMap::new();
            let mut reigns = HashMap::new();
            for head in &mut heads {
                self.daemon.tell_reigns(head, &mut reigns);
                let of = || self.daemon.known_signers(&head.cluster);
                head.signers = signers.entry(head.cluster.clone()).or_insert_with(of).clone();
            }
        }
        heads.iter_mut().for_each(|head| head.rule = self.daemon.keeper.rule(&link::pull::dataset_of(head)));
        Ok(heads)
    }

    fn open(&self, _: &Caller, cluster: &str, dataset: &str) -> Result<Arc<Repository>, Refusal> {
        let wanted = Dataset { cluster: cluster.into(), name: dataset.into() };
        let repositories = &self.daemon.pulls.repositories;
        if !repositories.layout().datasets().contains(&wanted) {
            return Err(Refusal::missing(format!("dataset {wanted}")));
        }
        Ok(repositories.open(&wanted)?)
    }

    fn hear(&self, caller: &Caller, word: Word) -> Result<Option<Joined>, Refusal> {
        match word {
            Word::Join(join) => self.take_in(caller, &join).map(Some),
            Word::Notice(_) => {
                if let Some(pin) = &caller.pin {
                    self.daemon.poke(pin);
                }
                Ok(None)
            }
            Word::Report(report) => self.take_note(caller, report).map(|()| None),
        }
    }

    fn lend(&self, caller: &Caller, connection: Upgraded) -> Result<(), Refusal> {
        // Whoever was expelled while it opened lends nothing.
        match (caller.pin, &caller.role) {
            (Some(pin), Role::Node { .. }) if self.role(&pin) == caller.role => {
                self.daemon.lent.take(pin, connection);
                Ok(())
            }
            _ => Err(Refusal::not_yours("only a member lends connections")),
        }
    }

    fn elect(&self, caller: &Caller, said: Said) -> Result<Said, Refusal> {
        self.daemon.elect(caller, said)
    }
}
