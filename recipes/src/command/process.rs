//! One run of a program: its output, its last words, its end.
//!
//! A run has ended when the program has, and nobody holds its outputs any more: until then something may still be written.
//! Whatever is left of its process group then is killed, and so is all of it when the program fails or its time is over:
//! asked to end, and shortly after killed. All waiting is one poll on the outputs, the process and a timer, so no clock is
//! read. The group is signalled only before its leader is reaped: until then no other group can have its number.
//!
//! One that is started to leave something running is another matter: its outputs go where its caller says, nobody waits for
//! them, and what it leaves stays when it ended well.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Error;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// How long a group that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);
/// As much of a program's last words is told.
const TAIL_BYTES: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// What is read from it.
    Wanted,
    /// Words like those on standard error.
    Words,
}

pub(crate) struct Process {
    child: Child,
    group: Pid,
    ended: OwnedFd,
    timer: OwnedFd,
    timeout: Duration,
    grace: Duration,
    leaves: bool,
    output: Output,
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
    tail: Tail,
    exited: bool,
    reaped: bool,
    code: Option<i32>,
    /// How often the timer rang: the group was asked to end, was killed, was given up.
    rung: u32,
}

/// What there is to do.
struct Ready {
    timer: bool,
    ended: bool,
    err: bool,
    out: bool,
}

impl Process {
    pub fn start(mut command: Command, timeout: Duration, output: Output) -> io::Result<Process> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::begin(command, timeout, GRACE, output)
    }

    /// One that must be over at the deadline: it is asked to end when three quarters of the time are over, and then killed.
    pub fn start_strictly(mut command: Command, deadline: Duration, output: Output) -> io::Result<Process> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let grace = deadline / 4;
        Process::begin(command, deadline - grace, grace, output)
    }

    /// One that leaves something running when it ends well. Its outputs are its caller's business.
    pub fn start_leaving(command: Command, deadline: Duration) -> io::Result<Process> {
        let grace = deadline / 4;
        let mut process = Process::begin(command, deadline - grace, grace, Output::Words)?;
        process.leaves = true;
        Ok(process)
    }

    fn begin(mut command: Command, timeout: Duration, grace: Duration, output: Output) -> io::Result<Process> {
        command.process_group(0);
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        let ended = match rustix::process::pidfd_open(group, PidfdFlags::empty()) {
            Ok(ended) => ended,
            Err(error) => {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                child.wait()?;
                return Err(error.into());
            }
        };
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (tail, exited, reaped, code, rung) = (Tail::default(), false, false, None, 0);
        let leaves = false;
        let process = Process {
            child,
            group,
            ended,
            timer,
            timeout,
            grace,
            leaves,
            output,
            out,
            err,
            tail,
            exited,
            reaped,
            code,
            rung,
        };
        process.ring_after(timeout)?;
        Ok(process)
    }

    fn ring_after(&self, time: Duration) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        // Nothing at all would stop the timer.
        let it_value = Timespec { tv_sec: seconds, tv_nsec: i64::from(time.subsec_nanos()).max(1) };
        let when = Itimerspec { it_interval: zero, it_value };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &when)?;
        Ok(())
    }

    /// Runs it to its end; what it writes are words.
    pub fn run(mut self) -> io::Result<()> {
        self.finished()
    }

    /// What it writes, handed on; whole only when this returns well.
    pub fn pour(mut self, program: &str, out: &mut dyn io::Write) -> Result<(), Error> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.read(&mut buffer).map_err(|source| Error::Ran { program: program.into(), source })? {
                0 => return Ok(()),
                n => out.write_all(&buffer[..n]).map_err(|source| Error::Write { source })?,
            }
        }
    }

    /// The same, where more is to be asked of it afterwards.
    pub fn finished(&mut self) -> io::Result<()> {
        let mut unread = [0; 4096];
        while self.read(&mut unread)? > 0 {}
        Ok(())
    }

    /// The status with which it ended by itself, before its time was over.
    pub fn code(&self) -> Option<i32> {
        self.code.filter(|_| self.rung == 0)
    }

    /// What it writes, and nothing only after it ended well: else an error.
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.reaped {
            if self.exited && self.out.is_none() && self.err.is_none() {
                self.finish()?;
                break;
            }
            let ready = self.wait()?;
            if ready.timer {
                self.ring()?;
                continue;
            }
            if ready.ended {
                self.exit()?;
            }
            if ready.err {
                let read = self.err.as_mut().map(|err| self.tail.take(err)).transpose()?;
                self.err.take_if(|_| read == Some(0));
            }
            if ready.out {
                let n = self.out.as_mut().map(|out| out.read(buf)).transpose()?.unwrap_or(0);
                self.out.take_if(|_| n == 0);
                match self.output {
                    Output::Words => self.tail.add(&buf[..n]),
                    Output::Wanted if n > 0 && self.rung == 0 => return Ok(n),
                    Output::Wanted => {}
                }
            }
        }
        Ok(0)
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut fds = vec![PollFd::new(&self.timer, PollFlags::IN)];
        let mut add = |fd| {
            fds.push(PollFd::from_borrowed_fd(fd?, PollFlags::IN));
            Some(fds.len() - 1)
        };
        let ended = add((!self.exited).then_some(self.ended.as_fd()));
        let err = add(self.err.as_ref().map(AsFd::as_fd));
        let out = add(self.out.as_ref().map(AsFd::as_fd));
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let ready = |at: Option<usize>| at.is_some_and(|at| !fds[at].revents().is_empty());
        Ok(Ready { timer: ready(Some(0)), ended: ready(ended), err: ready(err), out: ready(out) })
    }

    fn ring(&mut self) -> io::Result<()> {
        self.rung += 1;
        match self.rung {
            1 => self.signal(Signal::TERM),
            2 => {
                self.signal(Signal::KILL);
                // Who left the group may hold them for ever.
                (self.out, self.err) = (None, None);
            }
            _ => return Err(self.told("cannot be killed")),
        }
        self.ring_after(self.grace)
    }

    /// The program ended; others of its group may still write, unless it failed.
    fn exit(&mut self) -> io::Result<()> {
        self.exited = true;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let found = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(self.group), options))?;
        if found.is_some_and(|found| found.exit_status() != Some(0)) {
            self.signal(Signal::KILL);
        }
        Ok(())
    }

    /// None of the group is no trouble.
    fn signal(&self, signal: Signal) {
        if !self.reaped {
            let _ = rustix::process::kill_process_group(self.group, signal);
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if !self.leaves || self.rung > 0 {
            self.signal(Signal::KILL);
        }
        let status = self.child.wait()?;
        self.reaped = true;
        self.code = status.code();
        if self.rung > 0 {
            let limit = self.timeout.as_secs_f32();
            return Err(self.told(&format!("it was not done after {limit} s and was ended")));
        }
        if !status.success() {
            return Err(self.told(&format!("it ended with {status}")));
        }
        Ok(())
    }

    /// An error with the program's last words.
    pub fn told(&self, what: &str) -> io::Error {
        let words = self.tail.shown();
        io::Error::other(if words.is_empty() { what.to_owned() } else { format!("{what}; it said: {words}") })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            // One that cannot be killed was waited for long enough; the kernel reaps it when this process ends.
            if self.rung < 3 {
                let _ = self.child.wait();
            }
        }
    }
}

/// The end of what was said.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    fn take(&mut self, from: &mut impl Read) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let n = from.read(&mut buffer)?;
        self.add(&buffer[..n]);
        Ok(n)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > TAIL_BYTES {
            self.bytes.drain(..self.bytes.len() - TAIL_BYTES);
            self.cut = true;
        }
    }

    /// On one line, and without what a terminal would take for commands.
    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        let cut = if self.cut { "… " } else { "" };
        if lines.is_empty() { String::new() } else { format!("{cut}{}", lines.join(" | ")) }
    }
}
