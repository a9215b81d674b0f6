//! Whether the application works: asked on the active node itself, since what others see of it may be the path's fault.
//!
//! One bad answer is no outage (`election::checks` counts them); a service that fell is restarted here three times, and then this node steps down in order.

use crate::takeover::doing::Doing;
use crate::takeover::told::{Event, Told};
use console::node_file::{Check, Dataset, NodeFile, Probe};
use election::checks::{self, Advice, Colour, Thresholds};
use election::member::Input;
use election::message::Standing;
use link::boot;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// No status line of HTTP is longer.
const HEAD_MAX: usize = 4096;

/// Asks once. Why it does not work.
pub async fn ask(check: &Check, file: &Arc<NodeFile>) -> Result<(), String> {
    let late = |_| format!("{} gave no answer within {} s", check.name, check.within.as_secs_f32());
    let asked = async {
        match &check.probe {
            Probe::Command(words) => command(words).await,
            Probe::Tcp(at) => TcpStream::connect(at).await.map(drop).map_err(|error| format!("cannot connect to {at}: {error}")),
            Probe::Http { at, path } => http(at, path).await,
            Probe::Sql { .. } => sql(check.probe.clone(), file.clone()).await,
        }
    };
    timeout(check.within, asked).await.map_err(late)?.map_err(|why| format!("{}: {why}", check.name))
}

async fn command(words: &[String]) -> Result<(), String> {
    let mut command = tokio::process::Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match command.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} ended with {status}", words[0])),
        Err(error) => Err(format!("cannot start {}: {error}", words[0])),
    }
}

/// The server's own limits end what is asked when nobody waits for it any more.
async fn sql(probe: Probe, file: Arc<NodeFile>) -> Result<(), String> {
    let asked = tokio::task::spawn_blocking(move || {
        let Probe::Sql { question, source: name, database } = probe else { return Ok(()) };
        let mut all = file.datasets.iter().flat_map(Dataset::with_sources);
        let (dataset, source) = all
            .find(|(_, source)| source.name == name)
            .ok_or_else(|| format!("no dataset has a source {name}"))?;
        let data = sources::recipe::data(source, &file.node.state, &dataset.name).map_err(|failure| failure.to_string())?;
        let answered = data
            .ask(database.as_deref(), &question)
            .ok_or_else(|| format!("source {name} is no database that answers"))?;
        answered.map_err(|error| link::pull::chain(&error))
    });
    asked.await.map_err(|error| error.to_string())?
}

async fn http(at: &str, path: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("http://{at}{path}: {error}");
    let mut stream = TcpStream::connect(at).await.map_err(failed)?;
    let question = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nUser-Agent: resilient\r\n\r\n");
    stream.write_all(question.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < HEAD_MAX {
        let mut piece = [0; 512];
        let count = stream.read(&mut piece).await.map_err(failed)?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(&piece[..count]);
    }
    let line = String::from_utf8_lossy(&head);
    let status = line.split_whitespace().nth(1).and_then(|word| word.parse::<u16>().ok());
    match status.filter(|_| line.starts_with("HTTP/")) {
        Some(status) if status < 400 => Ok(()),
        Some(status) => Err(format!("http://{at}{path} answered with status {status}")),
        None => Err(format!("http://{at}{path} answered something that is no HTTP")),
    }
}

/// The colours of all checks, as people see them.
#[derive(Clone, Default)]
pub struct Colours {
    inside: Arc<Mutex<BTreeMap<String, Colour>>>,
}

impl Colours {
    pub fn all(&self) -> BTreeMap<String, Colour> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, name: &str, colour: Colour) {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), colour);
    }
}

/// Asks for as long as this node is active, until `stop` turns true.
pub async fn watch(check: Check, doing: Doing, told: Arc<Told>, colours: Colours, mut stop: watch::Receiver<bool>) {
    let mut known = checks::Check::new(Thresholds::default());
    loop {
        tokio::select! {
            () = sleep(check.every) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if !matches!(told.standing(), Standing::Active | Standing::Failsafe) {
            known = checks::Check::new(Thresholds::default());
            continue;
        }
        let outcome = ask(&check, doing.file()).await;
        let mut advice = known.observe(boot::now(), outcome.is_ok());
        if let Err(why) = &outcome
            && advice != Advice::Nothing
        {
            told.tell(Event::Trouble(why.clone()));
        }
        while advice == Advice::Restart {
            doing.restart().await;
            advice = match ask(&check, doing.file()).await {
                Ok(()) => Advice::Nothing,
                Err(_) => known.restarted_in_vain(),
            };
        }
        if advice == Advice::GiveUp {
            told.tell(Event::Trouble(format!("{} is down, also after its restarts: this node steps down", check.name)));
            doing.inbox().put(Input::ServiceDown);
        }
        colours.set(&check.name, known.colour());
    }
}
