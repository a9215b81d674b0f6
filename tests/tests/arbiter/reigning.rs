//! A cluster's life in one process: the first reign, renewals, a takeover, and those who say what is not theirs to say.

use crate::place::{Host, PullBackup, World, clock};
use election::timers::Values;
use election::{Envelope, Epoch, MemberRecord, Message, Peer, Stamp, Timers};
use link::identity::Identity;
use link::post::Said;
use pull_backup::arbiter::record::position;
use std::sync::Arc;
use std::time::Duration;
use tests::played::{Pace, Played, Role, invited, play};
use tests::trial::CLUSTER;
use tests::wait::until;

const LIMIT: Duration = Duration::from_secs(60);

pub fn fast() -> Timers {
    Timers::new(Values::FAST, Duration::ZERO).unwrap()
}

fn keeps(world: &World) -> PullBackup {
    world.pull_backup_with("backup", "[cluster.shop]\nautomatic = true\nprofile = \"fast\"\n", clock())
}

/// A node that joined, and cannot be dialled.
fn joins(world: &World, at: &PullBackup, name: &str, active: bool) -> Host {
    let host = world.host(name);
    world.join_with(&host, at, at.invites(&host, Some(active)), 0).unwrap();
    host
}

fn client(world: &World, at: &PullBackup, host: &Host) -> link::client::Client {
    world.client(&Identity::open_or_make(&host.state).unwrap(), at.runs.address, at.identity.pin)
}

fn plays(world: &World, at: &PullBackup, host: &Host, record: MemberRecord) -> Played {
    let ledger = at.daemon.publish().ledger.clone();
    let heads = Arc::new(move || position(&ledger.heads(CLUSTER).unwrap()));
    let role = Role { cluster: CLUSTER.into(), node: host.name.clone(), timers: fast(), pace: Pace::QUICK };
    play(&world.runtime, role, client(world, at, host), record, heads, Arc::new(|_| true))
}

fn serves(played: &Played, epoch: u64, what: &str) {
    until(LIMIT, what, || match played.serves() {
        Some(Epoch(now)) if now == epoch => Ok(()),
        _ => Err(format!("{:?}", played.seen())),
    });
}

fn acknowledged(at: &PullBackup) {
    until(LIMIT, "the active knows who the members are", || {
        let record = at.daemon.publish().ledger.document(CLUSTER).unwrap().arbiter.ok_or("no record")?;
        let whole = record.acknowledged == record.generation && record.members.len() == 2;
        whole.then_some(()).ok_or(format!("{record:?}"))
    });
}

#[test]
fn the_invited_one_reigns_first_and_who_stands_by_takes_over_when_it_dies() {
    let world = World::new();
    let at = keeps(&world);
    let hosts = [joins(&world, &at, "web1", true), joins(&world, &at, "web2", false)];
    let first = plays(&world, &at, &hosts[0], invited(fast()));
    let second = plays(&world, &at, &hosts[1], MemberRecord::default());
    serves(&first, 1, "the first reign, without a grant");
    let ledger = &at.daemon.publish().ledger;
    acknowledged(&at);
    let died_at = link::boot::now();
    drop(first.dies());
    serves(&second, 2, "the takeover");
    let waited = link::boot::now().since(died_at);
    assert!(waited >= fast().lease() - fast().heartbeat(), "not before its lease was over: {waited:?}");
    let document = ledger.document(CLUSTER).unwrap();
    let (reigns, record) = (document.reigns.unwrap(), document.arbiter.unwrap());
    assert_eq!((reigns.epoch, reigns.holder.node.as_str(), record.epoch), (2, "web2", Epoch(2)));
    assert_eq!(reigns.sealed.iter().map(|sealed| sealed.epoch).collect::<Vec<_>>(), [1], "sealed in the same file");
    assert_eq!(reigns.holder.key, hosts[1].trial.options.signer.public().to_string());
    until(LIMIT, "who publishes follows", || {
        let members = at.daemon.members().published();
        (members.len() == 1 && members[0].name == "web2").then_some(()).ok_or(format!("{members:?}"))
    });
    second.dies();
}

#[test]
fn a_daemon_that_begins_anew_under_a_living_lease_changes_nothing() {
    let world = World::new();
    let mut at = keeps(&world);
    let hosts = [joins(&world, &at, "web1", true), joins(&world, &at, "web2", false)];
    let first = plays(&world, &at, &hosts[0], invited(fast()));
    serves(&first, 1, "the first reign");
    let record = first.dies().record;
    drop(at);
    at = keeps(&world);
    let first = plays(&world, &at, &hosts[0], record);
    serves(&first, 1, "the same reign");
    assert_eq!(at.daemon.publish().ledger.open(CLUSTER).unwrap().unwrap().epoch, 1);
    first.dies();
}

#[test]
fn nobody_speaks_for_another_and_who_was_expelled_is_not_heard() {
    let world = World::new();
    let at = keeps(&world);
    let hosts = [joins(&world, &at, "web1", true), joins(&world, &at, "web2", false)];
    let first = plays(&world, &at, &hosts[0], invited(fast()));
    serves(&first, 1, "the first reign");
    let says = |host: &Host, envelopes: Vec<Envelope>| {
        let said = Said { envelopes, ..Said::default() };
        world.runtime.block_on(client(&world, &at, host).post::<Said>("/v1/election", &said))
    };
    let release = |cluster: &str, from: &str| Envelope {
        cluster: cluster.into(),
        from: Peer::Node(from.into()),
        to: Peer::Arbiter,
        seen: Epoch(1),
        message: Message::Release { epoch: Epoch(1), position: Default::default() },
    };
    let before = at.daemon.publish().ledger.document(CLUSTER).unwrap().arbiter.unwrap();
    // The other node gives up what is not its own, also for another cluster, and claims an offer that nobody made.
    let stamp = Stamp { boot: link::boot::id().unwrap(), at: link::boot::now() };
    let claim = Message::Claim { offer: stamp.clone(), sent: stamp, position: Default::default() };
    let far = Envelope { seen: Epoch(900), ..release(CLUSTER, "web1") };
    let claims = Envelope { message: claim, ..release(CLUSTER, "web2") };
    let answer = says(&hosts[1], vec![release(CLUSTER, "web1"), release("bank", "web2"), far, claims]).unwrap();
    assert!(answer.envelopes.iter().all(|envelope| envelope.to == Peer::Node("web2".into())), "{answer:?}");
    let fellows = answer.fellows.expect("it has no list yet");
    assert_eq!(fellows.nodes.keys().collect::<Vec<_>>(), ["web1", "web2"]);
    let known = Said { knows: Some(fellows.mark()), ..Said::default() };
    let again = world.runtime.block_on(client(&world, &at, &hosts[1]).post::<Said>("/v1/election", &known)).unwrap();
    assert_eq!(again.fellows, None, "the same is not told again");
    let after = at.daemon.publish().ledger.document(CLUSTER).unwrap().arbiter.unwrap();
    assert_eq!((after.epoch, after.granted, after.holder, after.recovering), (before.epoch, before.granted, before.holder, false));
    at.daemon.members().expel(Some(CLUSTER), "web2", 1).unwrap();
    assert!(says(&hosts[1], vec![]).is_err(), "it is nobody here any more");
    until(LIMIT, "the record follows", || {
        let record = at.daemon.publish().ledger.document(CLUSTER).unwrap().arbiter.unwrap();
        (!record.members.contains_key(&"web2".into())).then_some(()).ok_or(format!("{record:?}"))
    });
    assert_eq!(first.serves(), Some(Epoch(1)), "and the active serves on");
    first.dies();
}

#[test]
fn nobody_takes_over_before_the_hook_says_that_the_node_is_off() {
    let world = World::new();
    let (said, off) = (world.folder.path().join("said"), world.folder.path().join("off"));
    let script = format!("echo $RESILIENT_NODE $RESILIENT_CLUSTER $RESILIENT_EPOCH >> {}; test -e {}", said.display(), off.display());
    let more = format!("[cluster.shop]\nautomatic = true\nprofile = \"fast\"\nstonith = [\"/bin/sh\", \"-c\", {script:?}]\n");
    let at = world.pull_backup_with("backup", &more, clock());
    let hosts = [joins(&world, &at, "web1", true), joins(&world, &at, "web2", false)];
    let first = plays(&world, &at, &hosts[0], invited(fast()));
    let second = plays(&world, &at, &hosts[1], MemberRecord::default());
    serves(&first, 1, "the first reign");
    acknowledged(&at);
    drop(first.dies());
    until(LIMIT, "the hook", || std::fs::read_to_string(&said).map_err(|error| error.to_string()));
    assert_eq!(std::fs::read_to_string(&said).unwrap(), "web1 shop 1\n");
    assert!(!second.seen().told.contains(&"poll"), "nobody is asked before: {:?}", second.seen());
    std::fs::write(&off, "").unwrap();
    serves(&second, 2, "the takeover");
    assert_eq!(std::fs::read_to_string(&said).unwrap().lines().count(), 2, "it was asked again, and confirmed");
    second.dies();
}

#[test]
fn a_pull_backup_that_follows_another_is_no_arbiter() {
    let world = World::new();
    let (at, second) = (keeps(&world), world.pull_backup("second"));
    let host = joins(&world, &at, "web1", true);
    let told = at.daemon.publish().ledger.open(CLUSTER).unwrap().unwrap();
    second.daemon.publish().ledger.told(CLUSTER, &told).unwrap();
    world.join_with(&host, &second, second.invites(&host, Some(false)), 0).unwrap();
    let asked = world
        .runtime
        .block_on(client(&world, &second, &host).post::<Said>("/v1/election", &Said::default()));
    assert!(asked.unwrap_err().to_string().contains("follows another"), "it grants nothing");
    assert_eq!(second.daemon.publish().ledger.document(CLUSTER).unwrap().arbiter, None);
}
