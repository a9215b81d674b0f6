//! Passphrases: typed at a terminal without echo, or read from a file; never from an argument or the environment.
//!
//! The terminal is `/dev/tty`, so that standard input and output stay free for data. It is put back on every way out: while we
//! read, Ctrl-C arrives as a key and not as a signal, because a signal would leave the shell without echo.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::Error;

pub(crate) const OPEN_TO_OTHERS: &str = "everybody on this host can read the file";
const LENGTH_MOST: usize = 4_096;

/// A secret that prints as nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(String);

impl Passphrase {
    /// The secret itself; for whoever opens or makes an identity, and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// From `file` when one is given (`--passphrase-file`), else asked for at the terminal.
pub fn read(prompt: &str, file: Option<&Path>) -> Result<Passphrase, Error> {
    match file {
        Some(path) => from_file(path),
        None => ask(&mut terminal()?, prompt),
    }
}

/// For a new secret: asked for twice, because nobody sees what was typed.
pub fn choose(prompt: &str, file: Option<&Path>) -> Result<Passphrase, Error> {
    match file {
        Some(path) => from_file(path),
        None => ask_twice(&mut terminal()?, prompt),
    }
}

/// The first line of the file. Pipes pass, so `--passphrase-file <(command)` works.
fn from_file(path: &Path) -> Result<Passphrase, Error> {
    let failed = |source| Error::ReadPassphrase { path: path.to_owned(), source };
    let wrong = |why| Error::Passphrase { path: path.to_owned(), why };
    let about = fs::metadata(path).map_err(failed)?;
    if about.is_file() && about.permissions().mode() & 0o007 != 0 {
        return Err(wrong(OPEN_TO_OTHERS));
    }
    if about.is_dir() || about.file_type().is_block_device() {
        return Err(wrong("is no file"));
    }
    let mut bytes = Vec::new();
    let source = File::open(path).map_err(failed)?;
    source.take(LENGTH_MOST as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err(wrong("is empty")),
        Ok(text) if text.len() <= LENGTH_MOST => Ok(Passphrase(text.to_owned())),
        Ok(_) => Err(wrong("is longer than 4,096 bytes")),
        Err(_) => Err(wrong("is not UTF-8")),
    }
}

fn terminal() -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|source| Error::NoTerminal { source })
}

fn ask_twice(terminal: &mut File, prompt: &str) -> Result<Passphrase, Error> {
    let first = ask(terminal, prompt)?;
    let again = ask(terminal, &format!("{prompt}, once more"))?;
    if first == again { Ok(first) } else { Err(Error::Ask { why: "the two were not the same" }) }
}

fn ask(terminal: &mut File, prompt: &str) -> Result<Passphrase, Error> {
    let quiet = Quiet::begin(terminal)?;
    let failed = |source| Error::NoTerminal { source };
    let mut shown = terminal.try_clone().map_err(failed)?;
    write!(shown, "{prompt}: ").map_err(failed)?;
    let typed = line(terminal);
    // The key that ended the line was not echoed.
    writeln!(shown).map_err(failed)?;
    drop(quiet);
    typed
}

/// Reads keys up to the end of the line, with the three that a terminal's own line editing would know.
fn line(terminal: &mut File) -> Result<Passphrase, Error> {
    const INTERRUPT: u8 = 0x03;
    const END: u8 = 0x04;
    const ERASE_LINE: u8 = 0x15;
    let mut typed = Vec::new();
    let mut key = [0];
    loop {
        let count = terminal.read(&mut key).map_err(|source| Error::NoTerminal { source })?;
        match key[0] {
            _ if count == 0 => break,
            b'\r' | b'\n' => break,
            INTERRUPT => return Err(Error::Ask { why: "interrupted" }),
            END => break,
            ERASE_LINE => typed.clear(),
            0x08 | 0x7f => erase_last(&mut typed),
            _ if typed.len() == LENGTH_MOST => return Err(Error::Ask { why: "it is longer than 4,096 bytes" }),
            byte => typed.push(byte),
        }
    }
    match String::from_utf8(typed) {
        Ok(text) if text.is_empty() => Err(Error::Ask { why: "none was given" }),
        Ok(text) => Ok(Passphrase(text)),
        Err(_) => Err(Error::Ask { why: "it is not UTF-8" }),
    }
}

/// Takes back one letter, which may be several bytes.
fn erase_last(typed: &mut Vec<u8>) {
    while let Some(byte) = typed.pop() {
        if byte & 0xc0 != 0x80 {
            break;
        }
    }
}

/// The terminal without echo, until dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn begin(terminal: &File) -> Result<Quiet, Error> {
        let failed = |source| Error::NoTerminal { source };
        let terminal = terminal.try_clone().map_err(failed)?;
        let before = tcgetattr(&terminal).map_err(|error| failed(error.into()))?;
        let mut quiet = before.clone();
        quiet
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet).map_err(|error| failed(error.into()))?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing is left to try when a terminal that is gone cannot be put back.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// Types `keys` after each prompt of `work`; gives its outcome, what the screen showed, and whether echo is on again.
    fn type_at(keys: &[&str], work: fn(&mut File) -> Result<Passphrase, Error>) -> (Result<Passphrase, String>, String, bool) {
        let hand = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&hand).unwrap();
        unlockpt(&hand).unwrap();
        let name = ptsname(&hand, Vec::new()).unwrap();
        let mut hand = File::from(hand);
        let mut terminal = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let asked = terminal.try_clone().unwrap();
        let worker = thread::spawn(move || work(&mut terminal).map_err(|error| error.to_string()));
        let mut screen = String::new();
        for keys in keys {
            read_until(&mut hand, &mut screen, ": ");
            hand.write_all(keys.as_bytes()).unwrap();
            read_until(&mut hand, &mut screen, "\n");
        }
        let outcome = worker.join().unwrap();
        let echo = tcgetattr(&asked)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        (outcome, screen, echo)
    }

    fn read_until(hand: &mut File, screen: &mut String, end: &str) {
        let mut byte = [0];
        while !screen.ends_with(end) || byte == [0] {
            assert_eq!(hand.read(&mut byte).unwrap(), 1);
            screen.push(char::from(byte[0]));
        }
    }

    #[test]
    fn what_is_typed_is_not_shown() {
        let (outcome, screen, echo) = type_at(&["horse staplé\n"], |terminal| ask(terminal, "Passphrase"));
        assert_eq!(outcome.unwrap().expose(), "horse staplé");
        assert_eq!(screen, "Passphrase: \r\n");
        assert!(echo, "the terminal is as it was");
    }

    #[test]
    fn keys_that_take_back() {
        let (outcome, ..) = type_at(&["wrong\x15batté\x7f\x7fery\r"], |terminal| ask(terminal, "Passphrase"));
        assert_eq!(outcome.unwrap().expose(), "batery");
    }

    #[test]
    fn interrupting_puts_the_terminal_back() {
        let (outcome, screen, echo) = type_at(&["half\x03"], |terminal| ask(terminal, "Passphrase"));
        assert_eq!(outcome.unwrap_err(), "asking for a passphrase: interrupted");
        assert!(echo && !screen.contains("half"));
    }

    #[test]
    fn a_new_one_is_asked_for_twice() {
        let (outcome, ..) = type_at(&["one\n", "one\n"], |terminal| ask_twice(terminal, "New passphrase"));
        assert_eq!(outcome.unwrap().expose(), "one");
        let (outcome, ..) = type_at(&["one\n", "two\n"], |terminal| ask_twice(terminal, "New passphrase"));
        assert_eq!(outcome.unwrap_err(), "asking for a passphrase: the two were not the same");
    }

    #[test]
    fn from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let with = |bytes: &[u8], mode: u32| {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            from_file(&path).map(|passphrase| passphrase.expose().to_owned()).map_err(|error| error.to_string())
        };
        assert_eq!(with(b"horse staple\r\nnext line\n", 0o600).unwrap(), "horse staple");
        assert_eq!(with(b" kept as it is ", 0o400).unwrap(), " kept as it is ");
        assert!(with(b"\n", 0o600).unwrap_err().ends_with("is empty"));
        assert!(with(b"\xff\n", 0o600).unwrap_err().ends_with("is not UTF-8"));
        assert!(with(&[b'x'; 5_000], 0o600).unwrap_err().ends_with("longer than 4,096 bytes"));
        assert!(with(b"x", 0o644).unwrap_err().ends_with(OPEN_TO_OTHERS));
        assert!(from_file(folder.path()).unwrap_err().to_string().ends_with("is no file"));
    }

    #[test]
    fn it_prints_as_nothing() {
        assert_eq!(format!("{:?}", Passphrase("horse".into())), "Passphrase(…)");
    }
}
