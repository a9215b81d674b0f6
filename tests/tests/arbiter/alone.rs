//! The arbiter's thread alone: its clock is set by the test, and the members' words are made by hand, so that each step is the only one.

use election::arbiter::Order;
use election::message::{Answer, Grant, Readiness, Standing};
use election::{Envelope, Epoch, Message, NodeId, Peer, Position, Stamp, Time, Timers};
use link::identity::Pin;
use link::reigns::Holder;
use pull_backup::arbiter::Arbiter;
use pull_backup::arbiter::actor::{Ask, Given, Outside};
use pull_backup::arbiter::record::position;
use pull_backup::arbiter::shown::Shown;
use pull_backup::members::{Invited, Members};
use pull_backup::reigns::Ledger;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tests::trial::{CLUSTER, START_MS};
use tests::wait::until;

pub const LIMIT: Duration = Duration::from_secs(30);

/// What the arbiter had done.
#[derive(Default)]
pub struct Beyond {
    pub sent: Mutex<Vec<Envelope>>,
    pub settled: AtomicU64,
    pub gathers: AtomicU64,
    pub offs: Mutex<Vec<(NodeId, Epoch)>>,
}

/// The way to what the test sees: a thread of the arbiter's has a place of its own.
struct To(Arc<Beyond>);

impl Outside for To {
    fn send(&self, envelope: Envelope) {
        self.0.sent.lock().unwrap().push(envelope);
    }

    fn settle(&self) {
        self.0.settled.fetch_add(1, Ordering::SeqCst);
    }

    fn gather(&self) {
        self.0.gathers.fetch_add(1, Ordering::SeqCst);
    }

    fn turn_off(&self, node: NodeId, epoch: Epoch) {
        self.0.offs.lock().unwrap().push((node, epoch));
    }
}

/// A pull-backup's folders, with an arbiter that can be begun and ended.
pub struct Bench {
    pub ledger: Ledger,
    pub members: Arc<Members>,
    pub beyond: Arc<Beyond>,
    pub now: Arc<AtomicU64>,
    pub configured: &'static str,
    running: Option<(Arbiter, JoinHandle<()>)>,
}

pub fn fast() -> Timers {
    crate::reigning::fast()
}

impl Bench {
    /// With these members, of which the first was invited as the active one.
    pub fn new(state: &Path, store: &Path, names: &[&str]) -> Bench {
        let members = Arc::new(Members::new(state));
        for (number, name) in names.iter().enumerate() {
            enrol(&members, name, number == 0);
        }
        let ledger = Ledger::new(state, store);
        let holder = Holder::new(names[0], key(names[0]));
        ledger.first(CLUSTER, holder, 1).unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000));
        Bench {
            ledger,
            members,
            beyond: Arc::default(),
            now,
            configured: "automatic = true\nprofile = \"fast\"\n",
            running: None,
        }
    }

    /// Begins, or ends and begins anew.
    pub fn begin(&mut self) {
        self.end();
        let text = format!("store = {{ path = \"/srv/archive\" }}\n[cluster.{CLUSTER}]\n{}", self.configured);
        let file = console::pull_backup_file::PullBackupFile::parse(&text, Path::new("pull-backup.toml")).unwrap();
        let now = self.now.clone();
        let clock: Arc<dyn Fn() -> Time + Send + Sync> = Arc::new(move || Time::from_ms(now.load(Ordering::SeqCst)));
        let given = |_: &Arbiter, shown: Arc<Shown>| Given {
            cluster: CLUSTER.into(),
            configured: file.clusters.get(CLUSTER).cloned(),
            ledger: self.ledger.clone(),
            members: self.members.clone(),
            log: standing::Log::to(true, Arc::new(|| 0), Arc::new(|_| ())),
            wall: Arc::new(|| START_MS),
            clock: clock.clone(),
            boot: election::BootId("this boot".into()),
            outside: Arc::new(To(self.beyond.clone())),
            shown,
        };
        self.running = Some(Arbiter::begin(given, clock.clone()).unwrap());
    }

    pub fn end(&mut self) {
        if let Some((arbiter, thread)) = self.running.take() {
            arbiter.say(Ask::Stop);
            thread.join().unwrap();
        }
    }

    pub fn arbiter(&self) -> &Arbiter {
        &self.running.as_ref().expect("it was begun").0
    }

    pub fn passes(&self, span: Duration) {
        self.now.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
    }

    /// Says something for a node; what is for it comes back, also what was sent to it since.
    pub fn says(&self, node: &str, message: Message) -> Vec<Message> {
        self.says_as(node, Epoch(0), message)
    }

    pub fn says_as(&self, node: &str, seen: Epoch, message: Message) -> Vec<Message> {
        let envelope = Envelope { cluster: CLUSTER.into(), from: Peer::Node(node.into()), to: Peer::Arbiter, seen, message };
        let answered = self.arbiter().hear(node.into(), vec![envelope]);
        self.sent_to(node)
            .into_iter()
            .chain(answered.into_iter().map(|envelope| envelope.message))
            .collect()
    }

    /// What was sent to a node since it was asked last, after the arbiter had a look at its clock.
    pub fn hears(&self, node: &str) -> Vec<Message> {
        let mut heard: Vec<Message> = self.arbiter().hear(node.into(), vec![]).into_iter().map(|envelope| envelope.message).collect();
        heard.extend(self.sent_to(node));
        heard
    }

    fn sent_to(&self, node: &str) -> Vec<Message> {
        let to = Peer::Node(node.into());
        let mut sent = self.beyond.sent.lock().unwrap();
        let (own, others) = sent.drain(..).partition(|envelope| envelope.to == to);
        *sent = others;
        let own: Vec<Envelope> = own;
        own.into_iter().map(|envelope| envelope.message).collect()
    }

    pub fn heads(&self) -> Position {
        position(&self.ledger.heads(CLUSTER).unwrap())
    }

    pub fn epoch(&self) -> u64 {
        self.ledger.open(CLUSTER).unwrap().unwrap().epoch
    }

    /// Answers a poll as one that stands by at this position.
    pub fn answers(&self, node: &str, asked: &Stamp, at: Position) -> Vec<Message> {
        let readiness = Readiness { position: at, verified: true, valid: true, automatic: true, guarded: true, ..Readiness::default() };
        let (asked, standing) = (Some(asked.clone()), Standing::Passive);
        self.says(node, Message::Answer(Answer { asked, standing, own: None, forced: None, generation: 1, held: false, readiness }))
    }

    pub fn stamp(&self) -> Stamp {
        Stamp { boot: election::BootId("its boot".into()), at: Time::from_ms(5) }
    }

    /// The active is off, a person swore; a node is elected, answers, and is offered the role.
    pub fn offered(&self, node: &str, at: Position, accept_loss: bool) -> Stamp {
        self.hears(node);
        let holder = self.ledger.document(CLUSTER).unwrap().arbiter.unwrap().holder.unwrap();
        self.arbiter().order(Order::Attest { off: holder }).unwrap();
        self.arbiter().order(Order::Elect { node: Some(node.into()), accept_loss }).unwrap();
        let asked = find(self.hears(node), |message| match message {
            Message::Poll { asked } => Some(asked),
            _ => None,
        });
        let told = self.answers(node, &asked.expect("it is asked"), at);
        let offer = find(told, |message| match message {
            Message::Offer { offer, .. } => Some(offer),
            _ => None,
        });
        offer.expect("it is offered the role")
    }

    pub fn claims(&self, node: &str, offer: &Stamp, at: Position) -> Option<Grant> {
        let told = self.says(node, Message::Claim { offer: offer.clone(), sent: self.stamp(), position: at });
        find(told, |message| match message {
            Message::Granted(grant) => Some(grant),
            _ => None,
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.end();
    }
}

pub fn find<T>(told: Vec<Message>, choose: impl FnMut(Message) -> Option<T>) -> Option<T> {
    told.into_iter().find_map(choose)
}

pub fn key(name: &str) -> archive::sign::PublicKey {
    archive::sign::Signer::from_seed(&[*name.as_bytes().last().unwrap() - b'0'; 32]).public()
}

fn enrol(members: &Members, name: &str, active: bool) {
    let token = link::invitation::Token::new();
    members
        .invite(&token, &Invited { cluster: CLUSTER.into(), name: name.into(), active: Some(active), expires: u64::MAX / 2 })
        .unwrap();
    let join = link::message::Join {
        token: token.reveal(),
        cluster: CLUSTER.into(),
        name: name.into(),
        signing: key(name).to_string(),
        ports: link::message::Ports::default(),
        hosts: vec![],
    };
    let pin = Pin(*blake3::hash(name.as_bytes()).as_bytes());
    members.take_in(&join, pin, std::net::IpAddr::from([127, 0, 0, 1]), 1).unwrap();
}

fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (state, store) = (folder.path().join("state"), folder.path().join("archive"));
    std::fs::create_dir_all(&store).unwrap();
    (folder, state, store)
}

#[test]
fn seal_and_grant_are_one_record_and_an_epoch_is_given_once() {
    let (_folder, state, store) = folders();
    let mut bench = Bench::new(&state, &store, &["web1", "web2"]);
    bench.begin();
    let offer = bench.offered("web2", Position::default(), true);
    assert_eq!(bench.epoch(), 1, "an offer changes nothing");
    let grant = bench.claims("web2", &offer, Position::default()).expect("it is granted");
    let reigns = bench.ledger.open(CLUSTER).unwrap().unwrap();
    assert_eq!((grant.epoch, reigns.epoch, reigns.sealed.len(), reigns.holder.node.as_str()), (Epoch(2), 2, 1, "web2"));
    // The same claim again, late or doubled, brings no other grant; nor does one of another node.
    assert_eq!(bench.claims("web2", &offer, Position::default()), None);
    assert_eq!(bench.claims("web1", &offer, Position::default()), None);
    assert_eq!(bench.ledger.document(CLUSTER).unwrap().arbiter.unwrap().granted, Epoch(2));
    // It is never ACTIVE: the number is burnt, and who reigned before goes on where it was.
    bench.passes(fast().over() + Duration::from_secs(1));
    until(LIMIT, "the grant comes to nothing", || {
        bench.hears("web1");
        (bench.epoch() == 1).then_some(())
    });
    let record = bench.ledger.document(CLUSTER).unwrap().arbiter.unwrap();
    assert_eq!((record.granted, record.holder), (Epoch(2), None));
    assert!(bench.ledger.open(CLUSTER).unwrap().unwrap().sealed.is_empty(), "and is sealed no more");
}

#[test]
fn after_a_restart_nothing_is_granted_before_the_lease_is_over_by_anyones_clock() {
    let (_folder, state, store) = folders();
    let mut bench = Bench::new(&state, &store, &["web1", "web2"]);
    for _ in 0..3 {
        bench.begin();
        let before = bench.arbiter().order(Order::Elect { node: Some("web2".into()), accept_loss: true });
        assert!(before.unwrap_err().why.contains("the lease of web1 lives, or may live"));
        bench.passes(fast().over());
        assert!(bench.hears("web2").is_empty(), "not yet");
    }
    bench.passes(Duration::from_millis(2));
    // A node that was given its role for good never had a lease that could be over, so nobody takes over by itself.
    assert!(bench.hears("web2").is_empty());
    let blocked = bench.arbiter().seen().shape.blocked.expect("it is blocked");
    assert!(blocked.why.contains("was given the role by a person"), "{blocked:?}");
    assert_eq!(bench.arbiter().order(Order::Elect { node: Some("web2".into()), accept_loss: true }), Ok(()));
    until(LIMIT, "the poll", || find(bench.hears("web2"), |message| matches!(message, Message::Poll { .. }).then_some(())));
    assert_eq!(bench.epoch(), 1);
}

#[test]
fn a_state_folder_that_was_brought_back_is_known_by_its_place_and_grants_nothing() {
    let (folder, state, store) = folders();
    let mut bench = Bench::new(&state, &store, &["web1", "web2"]);
    bench.begin();
    assert_eq!(bench.arbiter().order(Order::Acknowledge), Ok(()));
    bench.end();
    // As a backup does it: the same files, others in the kernel's eyes.
    let copy = folder.path().join("copy");
    let cp = |from: &Path, to: &Path| assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    cp(&state, &copy);
    std::fs::rename(&state, folder.path().join("old")).unwrap();
    cp(&copy, &state);
    bench.begin();
    bench.passes(fast().over() * 3);
    let refused = bench.arbiter().order(Order::Elect { node: None, accept_loss: true }).unwrap_err();
    assert!(refused.why.contains("does not know all that was granted"), "{refused:?}");
    assert!(bench.ledger.document(CLUSTER).unwrap().arbiter.unwrap().recovering);
    // All members are heard: it goes on, with a number that nobody can have.
    for node in ["web1", "web2"] {
        let asked = until(LIMIT, "it is asked", || {
            bench.passes(Duration::from_millis(100));
            find(bench.hears(node), |message| match message {
                Message::Poll { asked } => Some(asked),
                _ => None,
            })
        });
        bench.answers(node, &asked, Position::default());
    }
    until(LIMIT, "heads are gathered", || (bench.beyond.gathers.load(Ordering::SeqCst) > 0).then_some(()));
    bench.arbiter().say(Ask::Gathered);
    until(LIMIT, "it knows again", || {
        bench.hears("web1");
        let record = bench.ledger.document(CLUSTER).unwrap().arbiter.unwrap();
        (!record.recovering && record.granted == Epoch(2)).then_some(()).ok_or(format!("{record:?}"))
    });
}

#[test]
fn a_record_that_is_lost_or_damaged_is_kept_aside_and_all_members_are_asked() {
    for damaged in [true, false] {
        let (_folder, state, store) = folders();
        let mut bench = Bench::new(&state, &store, &["web1", "web2"]);
        bench.begin();
        assert_eq!(bench.arbiter().order(Order::Acknowledge), Ok(()));
        bench.end();
        let path = state.join("clusters").join(CLUSTER).join("reigns.toml");
        if damaged {
            std::fs::write(&path, "epoch = 1\n[arb").unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
            let crowned = bench.ledger.first(CLUSTER, Holder::new("web1", key("web1")), 9).unwrap();
            assert_eq!(crowned, None, "who was invited once does not begin again");
        }
        assert!(bench.ledger.has_record(CLUSTER).unwrap());
        bench.begin();
        let refused = bench.arbiter().order(Order::Elect { node: None, accept_loss: true }).unwrap_err();
        assert!(refused.why.contains("does not know all that was granted"), "{refused:?}");
        let names = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.starts_with("reigns.damaged-")).count(), usize::from(damaged));
    }
}
