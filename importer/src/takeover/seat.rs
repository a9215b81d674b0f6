//! The thread in which this node's member lives: takes what happened, steps the machine, and carries out what it says, in its order.
//!
//! What follows a record that cannot be written is not carried out: the machine is dropped and begun anew from the disk, as after a kill, a second later. Meanwhile nothing
//! renews, and the kernel closes the gate in time.

use crate::takeover::acting::Acting;
use crate::takeover::doing::Doing;
use crate::takeover::kept;
use crate::takeover::told::{Event, Told};
use crate::takeover::ways::Paths;
use election::member::{Config, Input, Output};
use election::message::Readiness;
use election::{Envelope, Member, Peer, Time};
use link::boot;
use link::post::Post;
use standing::log::{Log, Said};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// What comes in.
enum Incoming {
    Input(Box<Input>),
    /// A question; what is for its sender goes into the answer.
    Asked(Box<Envelope>, Peer, SyncSender<Vec<Envelope>>),
    End,
}

/// Where things are handed in.
#[derive(Clone)]
pub struct Inbox {
    to: Sender<Incoming>,
}

/// A question's answer takes no longer than this, or is empty.
const ANSWER: Duration = Duration::from_secs(2);

impl Inbox {
    pub fn new() -> (Inbox, Mail) {
        let (to, from) = channel();
        (Inbox { to }, Mail(from))
    }

    // A thread that ended hears nothing, as a host that is down.
    pub fn put(&self, input: Input) {
        let _ = self.to.send(Incoming::Input(Box::new(input)));
    }

    pub fn receive(&self, envelope: Envelope) {
        self.put(Input::Received(Box::new(envelope)));
    }

    /// Hands in an envelope of a peer that waits, and gives what is said to it at once.
    pub fn ask(&self, envelope: Envelope, from: &Peer) -> Vec<Envelope> {
        let (answer, answered) = sync_channel(1);
        let _ = self.to.send(Incoming::Asked(Box::new(envelope), from.clone(), answer));
        answered.recv_timeout(ANSWER).unwrap_or_default()
    }

    pub fn end(&self) {
        let _ = self.to.send(Incoming::End);
    }
}

/// What was handed in.
pub struct Mail(Receiver<Incoming>);

/// What the thread is given.
pub struct Seat {
    pub state: PathBuf,
    pub config: Config,
    pub readiness: Readiness,
    pub acting: Arc<Acting>,
    pub doing: Doing,
    pub paths: Arc<Paths>,
    pub post: Post,
    pub told: Arc<Told>,
    pub log: Log,
}

/// It is looked so often at the clock in any case: a suspended host must notice.
const LOOK: Duration = Duration::from_secs(1);

/// Where a step's envelopes go besides.
struct Asker<'a> {
    peer: &'a Peer,
    answers: Vec<Envelope>,
}

/// What was said could not be written down: nothing after it may be done.
struct Halted;

struct Run {
    seat: Seat,
    member: Member,
    wake: Time,
    reigns: bool,
}

impl Seat {
    /// Runs until it is told to end.
    pub fn run(self, mail: &Mail) {
        let mut seat = self;
        loop {
            match seat.begin() {
                Ok(mut run) => {
                    let ended = run.listen(mail);
                    seat = run.seat;
                    if ended {
                        return;
                    }
                }
                Err(halted) => {
                    let why;
                    (seat, why) = *halted;
                    seat.trouble(format!("this node takes no part in takeover: {why}; tried again in a second"));
                }
            }
            // Meanwhile what comes in is lost, as on a host that is down.
            let until = boot::now() + LOOK;
            while boot::now() < until {
                match mail.0.recv_timeout(until.since(boot::now())) {
                    Ok(Incoming::End) | Err(RecvTimeoutError::Disconnected) => return,
                    Ok(Incoming::Input(input)) => seat.keep_in_mind(&input),
                    Ok(Incoming::Asked(..)) | Err(RecvTimeoutError::Timeout) => {}
                }
            }
        }
    }

    fn keep_in_mind(&mut self, input: &Input) {
        if let Input::Readiness(readiness) = input {
            self.readiness = readiness.clone();
        }
    }

    fn trouble(&self, what: String) {
        self.log.say(Said::error("takeover", &what));
        self.told.tell(Event::Trouble(what));
    }

    fn begin(self) -> Result<Run, Box<(Seat, String)>> {
        let read = || Ok::<_, link::Error>((boot::id()?, kept::member(&self.state)?, kept::role(&self.state)?));
        let (boot, record, role) = match read() {
            Ok(read) => read,
            Err(error) => return Err(Box::new((self, link::pull::chain(&error)))),
        };
        let (now, readiness, config) = (boot::now(), self.readiness.clone(), self.config.clone());
        let reigns = record.own.is_some();
        let (member, outputs) = Member::open(now, boot, record, role, readiness, config);
        let mut run = Run { seat: self, member, wake: now, reigns };
        match run.carry_out(outputs, None) {
            Ok(()) => Ok(run),
            Err(Halted) => Err(Box::new((run.seat, "its record cannot be written".into()))),
        }
    }
}

impl Run {
    /// Whether it was told to end; else it halted.
    fn listen(&mut self, mail: &Mail) -> bool {
        loop {
            let wait = self.wake.since(boot::now()).min(LOOK);
            let done = match mail.0.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => self.step(Input::Tick, None),
                Err(RecvTimeoutError::Disconnected) | Ok(Incoming::End) => return true,
                Ok(Incoming::Input(input)) => {
                    self.seat.keep_in_mind(&input);
                    self.step(*input, None)
                }
                Ok(Incoming::Asked(envelope, peer, answer)) => {
                    let mut asker = Asker { peer: &peer, answers: Vec::new() };
                    let done = self.step(Input::Received(envelope), Some(&mut asker));
                    // Whoever asked may have gone.
                    let _ = answer.send(asker.answers);
                    done
                }
            };
            if done.is_err() {
                return false;
            }
        }
    }

    fn step(&mut self, input: Input, asker: Option<&mut Asker<'_>>) -> Result<(), Halted> {
        let outputs = self.member.step(boot::now(), input);
        self.carry_out(outputs, asker)
    }

    fn carry_out(&mut self, outputs: Vec<Output>, mut asker: Option<&mut Asker<'_>>) -> Result<(), Halted> {
        for output in outputs {
            match output {
                Output::Persist(record) => {
                    if let Err(error) = kept::keep_member(&self.seat.state, &record) {
                        self.seat
                            .trouble(format!("what this node must not forget cannot be written: {}", link::pull::chain(&error)));
                        return Err(Halted);
                    }
                    self.reigns = record.own.is_some();
                    self.seat.told.sees(record.seen.0);
                    self.seat.paths.wait_at_most(record.own.map(|own| own.timers.request()));
                }
                Output::Send(envelope) => match asker.as_deref_mut() {
                    Some(asker) if *asker.peer == envelope.to => asker.answers.push(*envelope),
                    _ => self.seat.post.send(*envelope),
                },
                Output::Wake(at) => self.wake = at,
                other => self.act(other),
            }
        }
        Ok(())
    }

    fn act(&mut self, output: Output) {
        let seat = &self.seat;
        match output {
            Output::Role(role) => {
                if let Err(error) = kept::keep_role(&seat.state, &role, self.reigns) {
                    seat.trouble(format!("the role cannot be written: {}", link::pull::chain(&error)));
                }
                seat.doing.reigning(role.epoch.0);
                seat.told.tell(Event::Role(role));
            }
            Output::OpenGate { until } => {
                if let Err(why) = seat.acting.open(seat.doing.epoch(), until) {
                    seat.trouble(format!("the gate was not opened: {why}"));
                }
            }
            Output::CloseGate => {
                if let Err(why) = seat.acting.close(seat.doing.epoch()) {
                    seat.trouble(format!("the gate was not closed: {why}; the kernel closes it when its time is over"));
                }
            }
            Output::Start { epoch, base, adopt } => seat.doing.start(epoch, base, adopt),
            Output::Stop { kill_at } => seat.doing.stop(kill_at),
            Output::Export { epoch, until } => seat.doing.export(epoch, until),
            Output::Import { .. } => seat.doing.import(),
            Output::Alert(alert) => {
                let event = Event::Alert(alert);
                seat.log.say(Said::warn("takeover", event.words().unwrap_or_default()));
                seat.told.tell(event);
            }
            Output::Refused(refusal) => seat.told.tell(Event::Refused(refusal)),
            Output::Persist(_) | Output::Send(_) | Output::Wake(_) => {}
        }
    }
}
