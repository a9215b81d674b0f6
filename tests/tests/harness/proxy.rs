//! Each act of the proxy, seen from both of its sides.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tests::chance::noise;
use tests::proxy::{Act, Door, Proxy, Way};
use tests::wait::{self, Deadline};

use crate::peer::{LIMIT, comes_nothing, connect, echo, giver, take, taker};

/// Where two texts of one length differ, and in which bits.
fn differences(a: &[u8], b: &[u8]) -> Vec<(usize, u32)> {
    assert_eq!(a.len(), b.len());
    (0..a.len()).filter(|at| a[*at] != b[*at]).map(|at| (at, (a[at] ^ b[at]).count_ones())).collect()
}

#[test]
fn what_passes_is_the_same_and_is_counted() {
    let bytes = noise(1, 3 << 20);
    let proxy = Proxy::start(echo());
    let mut socket = connect(proxy.address());
    let mut writing = socket.try_clone().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        writing.write_all(&sent).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut came = Vec::new();
    socket.read_to_end(&mut came).unwrap();
    writer.join().unwrap();
    assert!(came == bytes, "the same bytes come back");
    let counts = proxy.plan().wait(LIMIT, "the end", |counts| counts.open == 0 && counts.connections == 1);
    assert_eq!((counts.up, counts.down, counts.struck, counts.turned_away), (3 << 20, 3 << 20, 0, 0));
}

#[test]
fn skipped_bytes_are_missing_and_the_rest_comes() {
    let bytes = noise(2, 200_000);
    let proxy = Proxy::start(giver(bytes.clone()));
    for (at, len) in [(0, 1), (100, 7), (65_530, 70_000), (199_999, 1), (199_999, 5)] {
        proxy.plan().set(Way::Down, Act::Skip { at, len });
        let before = proxy.plan().counts().struck;
        let (came, end) = take(proxy.address());
        end.unwrap();
        let (at, last) = (at as usize, bytes.len().min((at + len) as usize));
        assert!(came == [&bytes[..at], &bytes[last..]].concat(), "{at} and {len} more");
        assert!(proxy.plan().counts().struck > before);
    }
    proxy.plan().set(Way::Down, Act::Skip { at: 200_000, len: 1 });
    let before = proxy.plan().counts().struck;
    assert!(take(proxy.address()).0 == bytes && proxy.plan().counts().struck == before, "behind the end there is nothing to skip");
}

#[test]
fn the_same_act_meets_what_goes_up() {
    let (address, taken) = taker();
    let proxy = Proxy::start(address);
    let bytes = noise(3, 1000);
    let send = || {
        let mut socket = connect(proxy.address());
        socket.write_all(&bytes).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        assert!(socket.read(&mut [0]).is_ok_and(|len| len == 0), "nothing is wrong the other way");
        taken.recv_timeout(LIMIT).unwrap().0
    };
    proxy.plan().set(Way::Up, Act::Skip { at: 10, len: 10 });
    assert!(send() == [&bytes[..10], &bytes[20..]].concat());
    proxy.plan().set(Way::Up, Act::Flip { at: 0 });
    assert_eq!(differences(&send(), &bytes), [(0, 1)]);
    proxy.plan().clear();
    assert!(send() == bytes);
}

#[test]
fn one_bit_of_one_byte_of_each_connection_is_another() {
    let bytes = noise(4, 200_000);
    let proxy = Proxy::start(giver(bytes.clone()));
    for at in [0, 150, 65_536, 199_999] {
        proxy.plan().set(Way::Down, Act::Flip { at });
        for _ in 0..2 {
            assert_eq!(differences(&take(proxy.address()).0, &bytes), [(at as usize, 1)]);
        }
    }
    assert_eq!(proxy.plan().counts().struck, 8);
}

#[test]
fn once_is_for_the_first_connection_that_gets_there() {
    let bytes = noise(5, 100_000);
    let proxy = Proxy::start(giver(bytes.clone()));
    proxy.plan().once(Way::Down, Act::Flip { at: 5 });
    assert_eq!(differences(&take(proxy.address()).0, &bytes), [(5, 1)]);
    assert!((0..3).all(|_| take(proxy.address()).0 == bytes));
    proxy.plan().once(Way::Down, Act::Stall { after: 70_000 });
    let mut stalled = connect(proxy.address());
    stalled.read_exact(&mut vec![0; 70_000]).unwrap();
    assert!(comes_nothing(&mut stalled));
    assert!(take(proxy.address()).0 == bytes, "another goes on meanwhile");
    assert!(comes_nothing(&mut stalled));
    assert_eq!(proxy.plan().counts().struck, 2);
}

#[test]
fn a_seed_tells_where_chance_flips() {
    let bytes = noise(6, 5_000);
    let flips = |seed| -> Vec<usize> {
        let proxy = Proxy::start(giver(bytes.clone()));
        proxy.plan().set(Way::Down, Act::FlipByChance { seed, below: 5_000 });
        let flip = |_| match differences(&take(proxy.address()).0, &bytes)[..] {
            [(at, 1)] => at,
            ref other => panic!("{other:?}"),
        };
        (0..6).map(flip).collect()
    };
    let places = flips(1);
    assert_eq!(places, flips(1));
    assert_ne!(places, flips(2));
    assert!(places.iter().any(|at| *at != places[0]), "another place for each connection: {places:?}");
}

#[test]
fn after_so_many_bytes_it_ends_as_if_finished() {
    let bytes = noise(7, 200_000);
    let proxy = Proxy::start(giver(bytes.clone()));
    for after in [0, 1, 65_536, 100_001] {
        proxy.plan().set(Way::Down, Act::End { after });
        let (came, end) = take(proxy.address());
        end.expect("no reset");
        assert!(came == bytes[..after as usize], "{} bytes of {after}", came.len());
    }
    proxy.plan().set(Way::Down, Act::End { after: 200_001 });
    assert!(take(proxy.address()).0 == bytes);
    proxy.plan().wait(LIMIT, "all to end", |counts| counts.open == 0);
}

#[test]
fn who_sends_while_it_is_ended_meets_no_reset_and_the_server_sees_an_end() {
    let (address, taken) = taker();
    let proxy = Proxy::start(address);
    proxy.plan().set(Way::Up, Act::End { after: 1_000 });
    let mut socket = connect(proxy.address());
    socket.write_all(&noise(8, 1_000)).unwrap();
    let (came, end) = taken.recv_timeout(LIMIT).unwrap();
    end.expect("no reset");
    assert!(came == noise(8, 1_000));
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "the sender sees the end, too");
}

#[test]
fn a_reset_is_seen_on_both_sides() {
    let (address, taken) = taker();
    let proxy = Proxy::start(address);
    proxy.plan().set(Way::Up, Act::Reset { after: 500 });
    let mut socket = connect(proxy.address());
    socket.write_all(&noise(9, 1_000)).unwrap();
    assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let (came, end) = taken.recv_timeout(LIMIT).unwrap();
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(came == noise(9, 1_000)[..came.len()] && came.len() <= 500);
    proxy.plan().wait(LIMIT, "its end", |counts| counts.open == 0);
    proxy.plan().clear();
    let (mut one, mut two) = (connect(proxy.address()), connect(proxy.address()));
    proxy.plan().wait(LIMIT, "both", |counts| counts.open == 2);
    proxy.reset_all();
    for socket in [&mut one, &mut two] {
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn what_stalls_stays_open_and_goes_on_when_the_plan_changes() {
    let bytes = noise(10, 200_000);
    let proxy = Proxy::start(giver(bytes.clone()));
    proxy.plan().set(Way::Down, Act::Stall { after: 123_456 });
    let mut socket = connect(proxy.address());
    let mut came = vec![0; 123_456];
    socket.read_exact(&mut came).unwrap();
    assert!(comes_nothing(&mut socket));
    assert_eq!(proxy.plan().wait(LIMIT, "the stall", |counts| counts.struck == 1).down, 123_456);
    proxy.plan().clear();
    socket.read_to_end(&mut came).unwrap();
    assert!(came == bytes);
}

#[test]
fn a_delay_delays_and_a_trickle_trickles() {
    let proxy = Proxy::start(echo());
    let mut socket = connect(proxy.address());
    proxy.plan().set(Way::Down, Act::Delay(Duration::from_millis(150)));
    let early = Deadline::after(Duration::from_millis(140));
    socket.write_all(b"hello").unwrap();
    socket.read_exact(&mut [0; 5]).unwrap();
    assert!(early.left().is_none(), "it came too soon");

    proxy.plan().set(Way::Down, Act::Trickle(Duration::from_millis(20)));
    let early = Deadline::after(Duration::from_millis(190));
    socket.write_all(b"ten bytes!").unwrap();
    let mut came = [0; 10];
    socket.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"ten bytes!");
    assert!(early.left().is_none(), "ten bytes came too soon");

    proxy.plan().set(Way::Down, Act::Delay(Duration::from_secs(3_000)));
    socket.write_all(b"late").unwrap();
    proxy.plan().wait_passed(LIMIT, Way::Up, 19);
    assert!(comes_nothing(&mut socket));
    proxy.plan().clear();
    socket.read_exact(&mut [0; 4]).expect("a change of plan ends a delay");
}

#[test]
fn a_swallowed_way_says_nothing_and_the_other_goes_on() {
    let (address, taken) = taker();
    let proxy = Proxy::start(address);
    proxy.plan().set(Way::Up, Act::Swallow);
    let mut socket = connect(proxy.address());
    socket.write_all(&noise(11, 10_000)).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    proxy.plan().wait(LIMIT, "bytes to be lost", |counts| counts.struck > 0);
    assert!(taken.recv_timeout(Duration::from_millis(100)).is_err(), "not even the end arrives");
    proxy.plan().clear();
    let (came, end) = taken.recv_timeout(LIMIT).unwrap();
    assert!(came.len() < 10_000 && end.is_ok(), "the end comes when it may");

    let down = Proxy::start(giver(noise(12, 10)));
    down.plan().set(Way::Up, Act::Swallow);
    let mut socket = connect(down.address());
    socket.write_all(b"lost").unwrap();
    socket.read_exact(&mut [0; 10]).expect("down it goes on");
}

#[test]
fn a_door_that_refuses_keeps_its_port_and_what_stands() {
    let proxy = Proxy::start(echo());
    let mut standing = connect(proxy.address());
    standing.write_all(b"a").unwrap();
    standing.read_exact(&mut [0]).unwrap();
    for _ in 0..20 {
        proxy.door(Door::Refuse);
        assert_eq!(TcpStream::connect(proxy.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        standing.write_all(b"b").unwrap();
        standing.read_exact(&mut [0]).expect("what stands goes on");
        proxy.door(Door::Open);
        let mut again = connect(proxy.address());
        again.write_all(b"c").unwrap();
        again.read_exact(&mut [0]).expect("it is served again");
    }
}

#[test]
fn a_silent_door_accepts_and_says_nothing() {
    let proxy = Proxy::start(giver(b"words".to_vec()));
    proxy.door(Door::Silent);
    let mut socket = connect(proxy.address());
    proxy.plan().wait(LIMIT, "the connection", |counts| counts.open == 1);
    assert!(comes_nothing(&mut socket));
    proxy.door(Door::Open);
    let mut came = String::new();
    socket.read_to_string(&mut came).unwrap();
    assert_eq!(came, "words");
}

#[test]
fn a_dead_server_is_a_reset_and_a_new_one_is_found() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start(gone);
    let (came, end) = take(proxy.address());
    assert!(came.is_empty() && end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    assert_eq!(proxy.plan().wait(LIMIT, "it to be counted", |counts| counts.open == 0).turned_away, 1);
    proxy.retarget(giver(b"new".to_vec()));
    assert_eq!(take(proxy.address()).0, b"new");
}

#[test]
fn dropping_it_ends_all_that_it_began() {
    let proxy = Proxy::start(giver(noise(13, 1 << 20)));
    let address = proxy.address();
    proxy.plan().set(Way::Down, Act::Stall { after: 10 });
    let mut sockets: Vec<TcpStream> = (0..5).map(|_| connect(address)).collect();
    proxy.plan().wait(LIMIT, "all to stall", |counts| counts.struck == 5);
    proxy.door(Door::Refuse);
    drop(proxy);
    for socket in &mut sockets {
        let mut came = Vec::new();
        assert!(socket.read_to_end(&mut came).is_err() && came.len() <= 10);
    }
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn more_than_it_has_room_for_are_turned_away() {
    let proxy = Proxy::start(echo());
    proxy.door(Door::Silent);
    let mut sockets: Vec<TcpStream> = (0..512).map(|_| connect(proxy.address())).collect();
    proxy.plan().wait(LIMIT, "all to be in", |counts| counts.open == 512);
    assert!(connect(proxy.address()).read(&mut [0]).is_err());
    proxy.plan().wait(LIMIT, "it to be counted", |counts| counts.turned_away == 1);
    sockets.clear();
    proxy.door(Door::Open);
    proxy.plan().wait(LIMIT, "all to leave", |counts| counts.open == 0);
    wait::until(LIMIT, "room", || {
        let mut socket = connect(proxy.address());
        socket.write_all(b"x").and_then(|()| socket.read_exact(&mut [0]))
    });
}

#[test]
fn waiting_for_counts_has_a_bound_and_says_what_they_are() {
    let proxy = Proxy::start(echo());
    let plan = proxy.plan().clone();
    let panic = std::panic::catch_unwind(move || plan.wait_passed(Duration::from_millis(10), Way::Up, 5).up).unwrap_err();
    let words = panic.downcast_ref::<String>().unwrap();
    assert!(words.starts_with("waited 10ms for 5 bytes Up; counted: Counts {"), "{words}");
    assert_eq!(proxy.plan().counts().up, 0, "and it still answers");
}
