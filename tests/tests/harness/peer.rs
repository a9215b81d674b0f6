//! Plain servers to talk to, each on a port of its own for as long as the test's process lives.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// For what must happen; nothing waits so long that works.
pub const LIMIT: Duration = Duration::from_secs(60);

fn serve(each: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, each) = (socket.unwrap(), each.clone());
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            std::thread::spawn(move || each(socket));
        }
    });
    address
}

/// Gives everyone the same bytes, and ends.
pub fn giver(bytes: Vec<u8>) -> SocketAddr {
    serve(move |mut socket| {
        // A proxy in between may end it sooner.
        let _ = socket.write_all(&bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read(&mut [0]);
    })
}

/// Says each byte again, as it comes.
pub fn echo() -> SocketAddr {
    serve(|mut socket| {
        let mut buffer = vec![0; 4096];
        while let Ok(len) = socket.read(&mut buffer) {
            if len == 0 || socket.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
    })
}

/// Takes what comes; tells for each connection what it was, and how it ended.
pub fn taker() -> (SocketAddr, Receiver<(Vec<u8>, std::io::Result<()>)>) {
    let (sender, receiver): (Sender<_>, _) = channel();
    let address = serve(move |mut socket| {
        let mut bytes = Vec::new();
        let end = socket.read_to_end(&mut bytes).map(drop);
        let _ = sender.send((bytes, end));
    });
    (address, receiver)
}

pub fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// All that comes, and how it ended.
pub fn take(to: SocketAddr) -> (Vec<u8>, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let end = connect(to).read_to_end(&mut bytes).map(drop);
    (bytes, end)
}

/// What comes within a moment when nothing should.
pub fn comes_nothing(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let read = socket.read(&mut [0]);
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    read.is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
}
