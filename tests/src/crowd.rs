//! Thousands of clients that connect, say nothing, and stay.
//!
//! All in one process, on blocking connects with a bound each and one over all. A client cannot see whether a server accepted it or
//! only its kernel did; so a census tells what a client can see: who is connected, who was closed, to whom something was said. Limits
//! on open files are raised as far as this process may; where that is not far enough, it says so instead of trying fewer.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::wait::{self, Deadline};

/// Files that a test has open besides.
const FILES_BESIDES: u64 = 256;
/// A client that gets no answer stops trying.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Clients, connected or not.
#[derive(Debug, Default)]
pub struct Crowd {
    connected: Vec<TcpStream>,
    census: Census,
}

/// What became of all that tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Connected at first, whatever came of it.
    pub connected: usize,
    /// Refused at once, or reset while connecting.
    pub refused: usize,
    /// No answer.
    pub unanswered: usize,
    /// There was no time left to try.
    pub untried: usize,
    /// Of those connected: still so, and nothing was said.
    pub idle: usize,
    /// Closed or reset by the other side.
    pub closed: usize,
    /// Still connected; something was said to them.
    pub spoken_to: usize,
}

impl Crowd {
    /// So many try to connect, one after the other, as long as the limit allows.
    #[track_caller]
    pub fn gather(to: SocketAddr, many: usize, limit: Duration) -> Crowd {
        raise_files(many as u64 + FILES_BESIDES);
        let deadline = Deadline::after(limit);
        let mut crowd = Crowd::default();
        for tried in 0..many {
            let Some(left) = deadline.left() else {
                crowd.census.untried = many - tried;
                break;
            };
            match TcpStream::connect_timeout(&to, left.min(ANSWER_LIMIT)) {
                Ok(socket) => {
                    socket.set_nonblocking(true).expect("a socket can be asked without waiting");
                    crowd.connected.push(socket);
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset) => {
                    crowd.census.refused += 1
                }
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => crowd.census.unanswered += 1,
                Err(error) => panic!("client {tried} of {many}: {error}"),
            }
        }
        crowd.census.connected = crowd.connected.len();
        crowd
    }

    /// Asks each connection how it stands now.
    pub fn census(&self) -> Census {
        let mut census = self.census;
        for socket in &self.connected {
            match socket.peek(&mut [0]) {
                Ok(0) => census.closed += 1,
                Ok(_) => census.spoken_to += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => census.idle += 1,
                Err(_) => census.closed += 1,
            }
        }
        census
    }

    /// Waits until the census is as asked; panics at the limit with what it is.
    #[track_caller]
    pub fn until(&self, limit: Duration, what: &str, asked: impl Fn(&Census) -> bool) -> Census {
        wait::until(limit, what, || {
            let census = self.census();
            if asked(&census) { Ok(census) } else { Err(format!("{census:?}")) }
        })
    }

    /// Each sends these bytes and goes on staying; how many could.
    pub fn say(&self, bytes: &[u8]) -> usize {
        self.connected.iter().filter(|socket| (&mut &**socket).write_all(bytes).is_ok()).count()
    }
}

/// Lets this process have so many files open at a time; panics where it may not.
#[track_caller]
pub fn raise_files(many: u64) {
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= many) {
        return;
    }
    let maximum = now.maximum.map(|maximum| maximum.max(many));
    setrlimit(Resource::Nofile, Rlimit { current: Some(many), maximum })
        .unwrap_or_else(|error| panic!("{many} open files are needed, and no more than {:?} may be had: {error}", now.maximum));
}
