//! A program of an act: what it is told, and how long it may take.
//!
//! The environment holds what is written here and nothing else; the same stands as one JSON object on its standard input. No
//! shell is involved. At the deadline its whole process group is gone: it is asked to end when three quarters are over.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Call;
use super::budget::Budget;
use super::record::Journal;
use crate::Error;
use crate::command::process::{Output, Process};

/// What a program may answer where its answer counts.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A program by its absolute path, and its arguments, as they stand in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Words(Vec<String>);

/// What a program is told.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    pub act: &'static str,
    pub name: &'a str,
    pub cluster: &'a str,
    /// The same call may come again: what was done for this epoch need not be done twice.
    pub epoch: u64,
    pub node: &'a str,
    /// The epoch for which it was taken, where it is released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_epoch: Option<u64>,
    pub within_ms: u64,
    /// What names should point to, where a program is told that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<serde_json::Value>,
}

impl Words {
    pub fn new(words: &[OsString]) -> Result<Words, Error> {
        let refuse = |reason| Error::Settings { reason };
        let text = |word: &OsString| word.to_str().map(str::to_owned).ok_or_else(|| refuse(format!("{word:?} is not UTF-8")));
        let words: Vec<String> = words.iter().map(text).collect::<Result<_, _>>()?;
        match words.first() {
            Some(program) if Path::new(program).is_absolute() => Ok(Words(words)),
            _ => Err(refuse(format!("{words:?} does not begin with the absolute path of a program"))),
        }
    }

    pub fn program(&self) -> PathBuf {
        self.0.first().map(PathBuf::from).unwrap_or_default()
    }

    pub fn command(&self, told: &Told) -> Command {
        let mut command = Command::new(self.program());
        command.args(self.0.iter().skip(1)).env_clear().current_dir("/");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/".into()));
        command.env("LANG", "C.UTF-8");
        command
            .env("RESILIENT_ACT", told.act)
            .env("RESILIENT_NAME", told.name)
            .env("RESILIENT_CLUSTER", told.cluster);
        command.env("RESILIENT_EPOCH", told.epoch.to_string()).env("RESILIENT_NODE", told.node);
        command.env("RESILIENT_WITHIN_MS", told.within_ms.to_string());
        if let Some(epoch) = told.taken_epoch {
            command.env("RESILIENT_TAKEN_EPOCH", epoch.to_string());
        }
        command
    }

    /// Runs it to its end; it holds the lock of the journal.
    pub fn run(&self, journal: &Journal, told: &Told, limit: Duration) -> Result<(), Error> {
        let input = journal.input(&told.json())?;
        let (_, ended) = self.ask(input, told, limit)?;
        ended.map_err(|source| Error::Ran { program: self.program(), source })
    }

    /// Asks it something: the status with which it ended, if it did by itself, and why it did not end well.
    pub fn status(&self, told: &Told, limit: Duration) -> Result<(Option<i32>, io::Result<()>), Error> {
        let input = unnamed(&told.json()).map_err(|source| self.unstarted(source))?;
        self.ask(input.into(), told, limit)
    }

    fn ask(&self, input: Stdio, told: &Told, limit: Duration) -> Result<(Option<i32>, io::Result<()>), Error> {
        let mut command = self.command(told);
        command.stdin(input);
        let mut process = Process::start_strictly(command, limit, Output::Words).map_err(|source| self.unstarted(source))?;
        let ended = process.finished();
        Ok((process.code(), ended))
    }

    pub fn unstarted(&self, source: io::Error) -> Error {
        Error::Start { program: self.program(), source }
    }
}

impl Told<'_> {
    pub fn of<'a>(act: &'static str, name: &'a str, call: &'a Call, budget: &Budget) -> Told<'a> {
        let within_ms = u64::try_from(budget.left().as_millis()).unwrap_or(u64::MAX);
        Told {
            act,
            name,
            cluster: &call.cluster,
            epoch: call.epoch,
            node: &call.node,
            taken_epoch: None,
            within_ms,
            dns: None,
        }
    }

    pub fn json(&self) -> Vec<u8> {
        // Strings and numbers cannot fail to be written.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// Runs it to its end, and hands back what it wrote.
pub(super) fn answer(command: Command, limit: Duration) -> io::Result<String> {
    answer_up_to(ANSWER_BYTES_MAX, command, limit)
}

/// The same, where it may be longer.
pub(super) fn answer_up_to(bytes_max: usize, command: Command, limit: Duration) -> io::Result<String> {
    let mut process = Process::start_strictly(command, limit, Output::Wanted)?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match process.read(&mut buffer)? {
            0 => return String::from_utf8(bytes).map_err(|_| process.told("its answer is not UTF-8")),
            n if bytes.len() + n > bytes_max => return Err(process.told("its answer has no end")),
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
}

/// A file with these bytes, to be somebody's standard input.
pub(super) fn unnamed(bytes: &[u8]) -> io::Result<std::fs::File> {
    use std::io::{Seek, Write};
    let mut file = std::fs::File::from(rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Why a program cannot be run by the node's own rights, if so.
pub(super) fn unfit(program: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(program) {
        Ok(found) if !found.is_file() => Some("is no file".into()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Some("is not executable".into()),
        Ok(found) if found.permissions().mode() & 0o002 != 0 => Some("can be changed by anybody".into()),
        Ok(_) => None,
        Err(error) => Some(format!("cannot be found: {error}")),
    }
}

/// The last words in a file.
pub(super) fn last_words(path: &Path) -> String {
    use std::io::{Seek, SeekFrom};
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        let _ = file.seek(SeekFrom::End(0)).and_then(|end| file.seek(SeekFrom::Start(end.saturating_sub(2048))));
        let _ = file.take(2048).read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>());
    lines
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" | ")
}
