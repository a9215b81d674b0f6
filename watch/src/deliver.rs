//! Ways by which a message leaves this host: a trait, and a command of the administrator's.
//!
//! A command gets the message's JSON on its standard input, from a file in memory, so that one that never reads blocks nobody.
//! There is no shell between. It runs in a process group of its own, which is killed whole when its time is over; what it leaves
//! behind when it ends by itself (a mail system delivers in the background) goes on. What it says on standard error, the first
//! few KiB, stands in the error. The call blocks until then: an async caller gives it a thread.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::message::Message;
use crate::words::line;
use crate::{Error, mail};

/// Long enough for a slow mail server, short enough for the next message.
pub const TIME_DEFAULT: Duration = Duration::from_secs(30);
const SAID_MOST: usize = 4_096;
const SAID_LETTERS_MOST: usize = 300;

/// A way by which a message leaves this host.
pub trait Deliver: Send {
    /// Name of the channel, as in [`Policy`](crate::Policy).
    fn name(&self) -> &str;

    /// Blocks until the message is handed over, or not, within a bound. Told twice, a message goes out twice.
    fn deliver(&self, message: &Message) -> Result<(), Error>;
}

/// A command that gets the JSON of each message on its standard input.
#[derive(Debug, Clone)]
pub struct ByCommand {
    argv: Vec<String>,
    time: Duration,
}

impl ByCommand {
    /// `argv` is the program and its arguments; no shell reads it.
    pub fn new(argv: Vec<String>, time: Duration) -> Result<ByCommand, Error> {
        if argv.first().is_none_or(String::is_empty) {
            return Err(Error::CommandEmpty);
        }
        Ok(ByCommand { argv, time })
    }
}

impl Deliver for ByCommand {
    fn name(&self) -> &str {
        "command"
    }

    fn deliver(&self, message: &Message) -> Result<(), Error> {
        run(&self.argv, message.json.as_bytes(), self.time)
    }
}

/// Mail through the local sendmail.
#[derive(Debug, Clone)]
pub struct ByMail {
    to: String,
    argv: Vec<String>,
    time: Duration,
}

impl ByMail {
    /// `sendmail` is the program, as [`mail::SENDMAIL`].
    pub fn new(to: &str, sendmail: &str, time: Duration) -> Result<ByMail, Error> {
        mail::check_address(to)?;
        let argv = [sendmail, "-t", "-oi"].map(str::to_owned).to_vec();
        Ok(ByMail { to: to.to_owned(), argv, time })
    }
}

impl Deliver for ByMail {
    fn name(&self) -> &str {
        "mail"
    }

    fn deliver(&self, message: &Message) -> Result<(), Error> {
        run(&self.argv, mail::compose(&self.to, message).as_bytes(), self.time)
    }
}

/// Runs a command with `input` on its standard input; ends within `time`, whatever the command does.
fn run(argv: &[String], input: &[u8], time: Duration) -> Result<(), Error> {
    let program = argv[0].clone();
    let failed = |source: std::io::Error| Error::Run { program: program.clone(), source };
    let input = in_memory(input).map_err(failed)?;
    let mut child = Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let mut said = Vec::new();
    let ended = wait(&mut child, &mut said, time);
    if !matches!(ended, Ok(true)) {
        // The group's leader is not reaped yet, so the number cannot be another's. It may be gone already, which is as good.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    }
    let status = child.wait().map_err(failed)?;
    if !ended.map_err(failed)? {
        return Err(Error::CommandTime { program, after: time });
    }
    judge(program, status, &said)
}

fn judge(program: String, status: ExitStatus, said: &[u8]) -> Result<(), Error> {
    if status.success() {
        return Ok(());
    }
    let said = line(&String::from_utf8_lossy(said), SAID_LETTERS_MOST);
    Err(Error::CommandFailed { program, status, said })
}

/// A file without a name, at its beginning.
fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let fd: OwnedFd = rustix::fs::memfd_create("message", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Waits until the child ends, without reaping it; false when the time is over first. Keeps the beginning of what it says.
#[expect(clippy::disallowed_methods, reason = "a child's time is real time, and nothing is decided by it but its end")]
fn wait(child: &mut Child, said: &mut Vec<u8>, time: Duration) -> std::io::Result<bool> {
    let pid = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stderr = child.stderr.take();
    let begin = Instant::now();
    loop {
        let left = time.saturating_sub(Instant::now().duration_since(begin));
        let mut waited = vec![PollFd::from_borrowed_fd(pid.as_fd(), PollFlags::IN)];
        waited.extend(stderr.as_ref().map(|stderr| PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::IN)));
        let span = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut waited, Some(&span)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        let ended = !waited[0].revents().is_empty();
        let spoke = waited.get(1).is_some_and(|fd| !fd.revents().is_empty());
        if spoke && !listen(stderr.as_mut(), said) {
            stderr = None;
        }
        if ended || left.is_zero() {
            return Ok(ended);
        }
    }
}

/// Reads what is there, without waiting since there is something; false at the end.
fn listen(stderr: Option<&mut impl Read>, said: &mut Vec<u8>) -> bool {
    let mut buffer = [0; SAID_MOST];
    match stderr.map(|stderr| stderr.read(&mut buffer)) {
        Some(Ok(0)) | None => false,
        Some(Ok(length)) => {
            let room = SAID_MOST.saturating_sub(said.len());
            said.extend_from_slice(&buffer[..length.min(room)]);
            true
        }
        Some(Err(error)) => error.kind() == std::io::ErrorKind::Interrupted,
    }
}
