//! A member that the test plays: the real machine, over real connections with its own key; services that start and stop at once, a gate that is only noted.
//!
//! It cannot be dialled, so it asks whether there is something for it; what it would say to other members is lost.

use election::member::{Config, Input, Output};
use election::message::{Readiness, Standing};
use election::{BootId, Envelope, Epoch, Member, MemberRecord, Own, Peer, Position, Time, Timers};
use link::client::Client;
use link::post::Said;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks at its clock.
    pub look: Duration,
    /// It asks also when it has nothing to say.
    pub asks: bool,
    /// How often it says how it stands, when it stands by.
    pub report: Duration,
}

impl Pace {
    /// It misses nothing.
    pub const QUICK: Pace = Pace { look: Duration::from_millis(50), asks: true, report: Duration::from_secs(1) };
    /// As a daemon does that can be dialled.
    pub const CALM: Pace = Pace { look: Duration::from_secs(1), asks: false, report: Duration::from_secs(5) };
}

/// What is seen of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Of its own reign, when the gate was open last, and until when it may be.
    pub gate: Option<(Epoch, Time)>,
    pub standing: Option<Standing>,
    /// Everything that it was told, by the kind of message.
    pub told: Vec<&'static str>,
    pub record: MemberRecord,
}

pub struct Played {
    pub seen: Arc<Mutex<Seen>>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    runtime: Arc<Runtime>,
}

impl Played {
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Asserts that it serves in an epoch, now.
    pub fn serves(&self) -> Option<Epoch> {
        let seen = self.seen();
        let is_active = matches!(seen.standing, Some(Standing::Active | Standing::Failsafe));
        seen.gate.filter(|(_, until)| is_active && link::boot::now() < *until).map(|(epoch, _)| epoch)
    }

    /// It is gone, as if its host had lost power.
    pub fn dies(mut self) -> Seen {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            self.runtime.block_on(task).unwrap();
        }
        self.seen()
    }
}

pub fn kind(envelope: &Envelope) -> &'static str {
    use election::Message::*;
    match envelope.message {
        Poll { .. } => "poll",
        Offer { .. } => "offer",
        Granted(_) => "granted",
        Renewed(_) => "renewed",
        ActiveRecorded { .. } => "recorded",
        Stale { .. } => "stale",
        Hear { .. } => "hear",
        Refused { .. } => "refused",
        _ => "other",
    }
}

pub struct Role {
    pub cluster: String,
    pub node: String,
    pub timers: Timers,
    pub pace: Pace,
}

/// The record of a node that was invited as the active one.
pub fn invited(timers: Timers) -> MemberRecord {
    let own = Own {
        epoch: Epoch(1),
        active: true,
        timers,
        activation_max: Duration::from_secs(60),
        forced: None,
        handed: false,
    };
    MemberRecord { seen: Epoch(1), own: Some(own), ..MemberRecord::default() }
}

/// Begins. `position` says what it has imported; `meets` is called before each word is sent, and may keep it from being said.
pub fn play(
    runtime: &Arc<Runtime>,
    role: Role,
    client: Client,
    record: MemberRecord,
    position: Arc<dyn Fn() -> Position + Send + Sync>,
    meets: Arc<dyn Fn(&Envelope) -> bool + Send + Sync>,
) -> Played {
    let seen = Arc::new(Mutex::new(Seen { record: record.clone(), ..Seen::default() }));
    let (stop, stopped) = watch::channel(false);
    let playing = Playing { client, seen: seen.clone(), position, meets };
    let task = runtime.spawn(playing.run(role, record, stopped));
    Played { seen, stop, task: Some(task), runtime: runtime.clone() }
}

struct Playing {
    client: Client,
    seen: Arc<Mutex<Seen>>,
    position: Arc<dyn Fn() -> Position + Send + Sync>,
    meets: Arc<dyn Fn(&Envelope) -> bool + Send + Sync>,
}

impl Playing {
    async fn run(self, role: Role, record: MemberRecord, stop: watch::Receiver<bool>) {
        let boot: BootId = link::boot::id().unwrap();
        let config = Config {
            cluster: role.cluster.as_str().into(),
            node: role.node.as_str().into(),
            timers: role.timers,
            final_export_max: Duration::from_secs(5),
            activation_max: Duration::from_secs(60),
            pause_max: Duration::from_secs(60),
            report_every: role.pace.report,
            alone_after: Duration::from_secs(60),
        };
        let (mut machine, outputs) = Member::open(link::boot::now(), boot, record, None, self.ready(), config);
        let mut inputs = VecDeque::new();
        let mut said = self.carry(outputs, &mut inputs);
        while !*stop.borrow() {
            inputs.push_back(Input::Readiness(self.ready()));
            inputs.push_back(Input::Tick);
            while let Some(input) = inputs.pop_front() {
                let outputs = machine.step(link::boot::now(), input);
                said.extend(self.carry(outputs, &mut inputs));
            }
            said.retain(|envelope| envelope.to == Peer::Arbiter && (self.meets)(envelope));
            if said.is_empty() && !role.pace.asks {
                tokio::time::sleep(role.pace.look).await;
                continue;
            }
            let question = Said { envelopes: std::mem::take(&mut said), ..Said::default() };
            if let Ok(answer) = self.client.post::<Said>("/v1/election", &question).await {
                self.seen.lock().unwrap().told.extend(answer.envelopes.iter().map(kind));
                inputs.extend(answer.envelopes.into_iter().map(|envelope| Input::Received(Box::new(envelope))));
            }
            tokio::time::sleep(role.pace.look).await;
        }
    }

    fn ready(&self) -> Readiness {
        Readiness {
            position: (self.position)(),
            verified: true,
            valid: true,
            automatic: true,
            guarded: true,
            ..Readiness::default()
        }
    }

    fn carry(&self, outputs: Vec<Output>, inputs: &mut VecDeque<Input>) -> Vec<Envelope> {
        let mut said = Vec::new();
        let mut seen = self.seen.lock().unwrap();
        for output in outputs {
            match output {
                Output::Persist(record) => seen.record = *record,
                Output::Role(role) => seen.standing = Some(role.standing),
                Output::Send(envelope) => said.push(*envelope),
                Output::OpenGate { until } => seen.gate = seen.record.own.as_ref().map(|own| (own.epoch, until)),
                Output::CloseGate => seen.gate = None,
                Output::Start { epoch, .. } => inputs.push_back(Input::Started { epoch }),
                Output::Stop { .. } => inputs.push_back(Input::Stopped),
                Output::Export { epoch, .. } => inputs.push_back(Input::Exported { epoch, position: (self.position)() }),
                Output::Import { .. } | Output::Alert(_) | Output::Refused(_) | Output::Wake(_) => {}
            }
        }
        said
    }
}
