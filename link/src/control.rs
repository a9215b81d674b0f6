//! How a command speaks with the daemon that runs on its state folder: a socket in that folder, which only its owner may enter.
//!
//! A question is a line of JSON; what comes back are lines too: words for the person who waits, and at last how it ended. What daemon and command say to each other is
//! theirs; both are of one version, since they are one program.

use crate::error::{ASK_DAEMON, Error, Result};
use rustix::fs::{Mode, OFlags, open};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line<T> {
    /// For the person who waits.
    Word(String),
    Done(T),
    /// It is not safe, or cannot be done now; what to do, when that is known.
    Refused {
        why: String,
        hint: Option<String>,
    },
    Failed {
        why: String,
        hint: Option<String>,
    },
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended<T> {
    Done(T),
    Refused { why: String, hint: Option<String> },
    Failed { why: String, hint: Option<String> },
}

impl<T> Ended<T> {
    pub fn refused(why: impl Into<String>, hint: impl Into<String>) -> Ended<T> {
        Ended::Refused { why: why.into(), hint: Some(hint.into()) }
    }

    pub fn failed(why: impl Into<String>) -> Ended<T> {
        Ended::Failed { why: why.into(), hint: None }
    }
}

/// Commands that are answered at once.
const AT_ONCE: usize = 8;
/// No question is longer.
const QUESTION_MAX: u64 = 64 << 10;
/// A question must be there by then.
const QUESTION: Duration = Duration::from_secs(5);

/// The socket's path, short enough whatever the folder's is: the kernel takes 108 bytes.
fn socket(state: &Path, daemon: &str) -> io::Result<(OwnedFd, PathBuf)> {
    let folder = open(state, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{daemon}.sock", folder.as_raw_fd()));
    Ok((folder, path))
}

/// Answers commands until `stop` turns true. Who calls holds the daemon's place (`running::Alone`): a socket that is there is a dead daemon's.
pub async fn serve<Q, T, A>(state: &Path, daemon: &str, answer: Arc<A>, mut stop: watch::Receiver<bool>) -> Result<()>
where
    Q: DeserializeOwned + 'static,
    T: Serialize + 'static,
    A: Fn(Q, &dyn Fn(String)) -> Ended<T> + Send + Sync + 'static,
{
    let named = state.join(format!("{daemon}.sock"));
    let failed = || Error::file("listen at", &named);
    let (folder, path) = socket(state, daemon).map_err(failed())?;
    // One that is not there is as good.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed())?;
    listener.set_nonblocking(true).map_err(failed())?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(failed())?;
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(turn) = turns.clone().acquire_owned().await else { break };
        let answer = answer.clone();
        tokio::task::spawn_blocking(move || {
            // Whoever asked may have gone.
            let _ = stream.into_std().and_then(|stream| converse(stream, &*answer));
            drop(turn);
        });
    }
    let _ = std::fs::remove_file(&path);
    drop(folder);
    Ok(())
}

fn converse<Q: DeserializeOwned, T: Serialize>(stream: UnixStream, answer: &dyn Fn(Q, &dyn Fn(String)) -> Ended<T>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(QUESTION))?;
    let mut question = String::new();
    BufReader::new(io::Read::take(&stream, QUESTION_MAX)).read_line(&mut question)?;
    let say = |line: &Line<T>| -> io::Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        (&stream).write_all(text.as_bytes())
    };
    let ended = match serde_json::from_str(&question) {
        // Words are for whom they reach.
        Ok(question) => answer(question, &|word| _ = say(&Line::Word(word))),
        Err(error) => Ended::failed(format!("the daemon does not know this question, it may be of another version: {error}")),
    };
    say(&match ended {
        Ended::Done(done) => Line::Done(done),
        Ended::Refused { why, hint } => Line::Refused { why, hint },
        Ended::Failed { why, hint } => Line::Failed { why, hint },
    })
}

/// Asks the daemon; `None` when none runs on this state folder. It waits for as long as the daemon takes.
pub fn ask<Q: Serialize, T: DeserializeOwned>(
    state: &Path,
    daemon: &str,
    question: &Q,
    hear: &mut dyn FnMut(String),
) -> Result<Option<Ended<T>>> {
    let named = state.join(format!("{daemon}.sock"));
    let failed = || Error::file(ASK_DAEMON, &named);
    let Ok((folder, path)) = socket(state, daemon) else { return Ok(None) };
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(failed()(error)),
    };
    drop(folder);
    let text = serde_json::to_string(question).map_err(|error| failed()(error.into()))? + "\n";
    // A daemon that dies closes the connection in more than one way.
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => failed()(ended()),
        _ => failed()(error),
    };
    (&stream).write_all(text.as_bytes()).map_err(gone)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(gone)?;
        return Ok(Some(match serde_json::from_str::<Line<T>>(&line).map_err(|error| failed()(error.into()))? {
            Line::Word(word) => {
                hear(word);
                continue;
            }
            Line::Done(done) => Ended::Done(done),
            Line::Refused { why, hint } => Ended::Refused { why, hint },
            Line::Failed { why, hint } => Ended::Failed { why, hint },
        }));
    }
    Err(failed()(ended()))
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before it answered")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(state: &Path, question: u32) -> (Option<Ended<u32>>, Vec<String>) {
        let mut words = Vec::new();
        (ask(state, "importer", &question, &mut |word| words.push(word)).unwrap(), words)
    }

    #[test]
    fn a_command_hears_words_and_the_end_and_knows_when_nobody_is_there() {
        let outer = tempfile::tempdir().unwrap();
        let state = outer.path().join("x".repeat(150));
        std::fs::create_dir(&state).unwrap();
        assert_eq!(asked(&state, 1), (None, vec![]));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        let answer = Arc::new(|question: u32, say: &dyn Fn(String)| {
            say(format!("{question} is taken"));
            if question == 7 { Ended::refused("not seven", "ask for eight") } else { Ended::Done(question + 1) }
        });
        let serving = {
            let (state, stopped) = (state.clone(), stopped);
            runtime.spawn(async move { serve(&state, "importer", answer, stopped).await })
        };
        while !state.join("importer.sock").exists() {
            std::thread::yield_now();
        }
        assert_eq!(asked(&state, 1), (Some(Ended::Done(2)), vec!["1 is taken".to_owned()]));
        assert_eq!(asked(&state, 7).0, Some(Ended::refused("not seven", "ask for eight")));
        stop.send_replace(true);
        runtime.block_on(serving).unwrap().unwrap();
        assert_eq!(asked(&state, 1), (None, vec![]));
        std::fs::write(state.join("importer.sock"), b"").unwrap();
        assert_eq!(asked(&state, 1), (None, vec![]), "what a dead daemon left is nobody");
    }

    /// One that dies with the question unread resets the connection, one that has read it only closes it.
    #[test]
    fn a_daemon_that_dies_leaves_a_command_that_knows_what_to_do() {
        let state = tempfile::tempdir().unwrap();
        for reads in [true, false] {
            let path = state.path().join("importer.sock");
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let dies = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                if reads {
                    let mut buffer = [0; 64];
                    assert!(io::Read::read(&mut stream, &mut buffer).unwrap() > 0);
                }
            });
            let error = ask::<u32, u32>(state.path(), "importer", &1, &mut |_| ()).unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("may have been begun")), "{error:?}");
            dies.join().unwrap();
            std::fs::remove_file(&path).unwrap();
        }
    }
}
