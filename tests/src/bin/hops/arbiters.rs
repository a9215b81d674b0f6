//! What it costs to be the arbiter of many clusters at rest: members renew and report as daemons do, each over a connection of its own.

use crate::measure::Stand;
use crate::pause;
use election::timers::Values;
use election::{MemberRecord, Position, Timers};
use link::client::Client;
use link::identity::Identity;
use link::invitation::Token;
use link::message::{Join, Ports};
use pull_backup::members::{Invited, Members};
use std::sync::Arc;
use std::time::Duration;
use tests::played::{Pace, Played, Role, invited, play};

const CLUSTERS: usize = 50;
const MEMBERS: usize = 3;

pub fn arbiters(seconds: u64) {
    let stand = Stand::alone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let runtime = Arc::new(runtime);
    let state = stand.cluster.path("keeper-state");
    let members = Members::new(&state);
    let pin = Identity::open_or_make(&state).expect("the keeper has one").pin;
    let address = format!("{}:8025", stand.cluster.address_of("keeper"));
    let timers = Timers::new(Values::DEFAULT, Duration::ZERO).expect("the default profile fits");
    let plays = |cluster: usize, number: usize| -> Played {
        let (cluster, node) = (format!("c{cluster}"), format!("web{number}"));
        let identity = Identity::passing().expect("a key");
        enrol(&members, &cluster, &node, number == 1, identity.pin);
        let client = Client::dial(&address, &identity, pin).expect("it can be dialled");
        let record = if number == 1 { invited(timers) } else { MemberRecord::default() };
        play(&runtime, Role { cluster, node, timers, pace: Pace::CALM }, client, record, Arc::new(Position::default), Arc::new(|_| true))
    };
    let all: Vec<Played> = (0..CLUSTERS)
        .flat_map(|cluster| (1..=MEMBERS).map(move |number| (cluster, number)))
        .map(|(c, n)| plays(c, n))
        .collect();
    let active = || all.iter().filter(|played| played.serves().is_some()).count();
    crate::until(|| active() == CLUSTERS);
    pause(Duration::from_secs(10));
    let before = stand.cpu();
    pause(Duration::from_secs(seconds));
    for (name, used) in stand.cpu() {
        let share = (used - before[&name]) / seconds as f64 * 100.0;
        println!("{name}: {share:.2} % of a core over {seconds} s, {} clusters of {MEMBERS} members, {} active", CLUSTERS, active());
    }
    stand.memory();
    all.into_iter().for_each(|played| drop(played.dies()));
}

fn enrol(members: &Members, cluster: &str, node: &str, active: bool, pin: link::identity::Pin) {
    let token = Token::new();
    let invited = Invited { cluster: cluster.into(), name: node.into(), active: Some(active), expires: u64::MAX / 2000 };
    members.invite(&token, &invited).expect("it is invited");
    let signing = archive::sign::Signer::from_seed(&archive::sign::random()).public().to_string();
    let join = Join {
        token: token.reveal(),
        cluster: cluster.into(),
        name: node.into(),
        signing,
        ports: Ports::default(),
        hosts: vec![],
    };
    members.take_in(&join, pin, std::net::IpAddr::from([127, 0, 0, 1]), 1).expect("it joins");
}
