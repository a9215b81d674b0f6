//! Ten thousand who say nothing.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use tests::apart;
use tests::crowd::{Census, Crowd, raise_files};

use crate::peer::LIMIT;

const MANY: usize = 10_000;

/// The server's side of it, in a process of its own, since both sides' files are more than one process may be allowed.
#[test]
fn ten_thousand_connect_and_are_told_apart_from_those_closed() {
    if let Some(address) = apart::part() {
        let crowd = Crowd::gather(address.parse().unwrap(), MANY, LIMIT);
        let census = crowd.census();
        assert_eq!((census.connected, census.refused, census.unanswered, census.untried), (MANY, 0, 0, 0));
        let census = crowd.until(LIMIT, "all but those kept to be closed", |census| census.closed == MANY - 3);
        assert_eq!((census.idle, census.spoken_to), (2, 1));
        println!("answer: told apart");
        return;
    }
    // The other tests of this process have files, too.
    raise_files(MANY as u64 + 8_000);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, kept) = channel();
    std::thread::spawn(move || {
        let all: Vec<TcpStream> = (0..MANY).map(|_| listener.accept().unwrap().0).collect();
        std::io::Write::write_all(&mut &all[5], b"hello").unwrap();
        let kept: Vec<TcpStream> = all.into_iter().skip(4).take(3).collect();
        sender.send(kept).unwrap();
    });
    let name = "crowd::ten_thousand_connect_and_are_told_apart_from_those_closed";
    assert_eq!(apart::ask(name, &address.to_string(), LIMIT), "told apart");
    assert_eq!(kept.recv_timeout(LIMIT).unwrap().len(), 3);
}

#[test]
fn those_refused_and_those_unanswered_are_counted() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let census = Crowd::gather(gone, 5, LIMIT).census();
    assert_eq!(census, Census { refused: 5, ..Census::default() });

    // Nobody accepts, so that at some time the kernel takes no more.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let crowd = Crowd::gather(listener.local_addr().unwrap(), 8, Duration::from_secs(3));
    let census = crowd.census();
    assert!(census.unanswered >= 1 && census.untried >= 1 && census.connected >= 1, "{census:?}");
    assert_eq!(census.connected + census.unanswered + census.untried, 8);
    assert_eq!(crowd.say(b"hello"), census.connected);
}
