//! What a daemon says while it runs: a line for people on a terminal, else one JSON object a line.
//!
//! Few lines, each useful: what was exported, pulled or imported, and each trouble once when it begins and once when it is over. Who repeats himself each
//! five seconds is not read. `what` is a word that stays, to search for; `text` is for people. No secret and no content of files.

use crate::place::ms;
use console::human;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Said {
    level: Level,
    what: &'static str,
    dataset: Option<String>,
    peer: Option<String>,
    text: String,
}

impl Said {
    pub fn info(what: &'static str, text: impl Display) -> Said {
        Said { level: Level::Info, what, dataset: None, peer: None, text: text.to_string() }
    }

    pub fn warn(what: &'static str, text: impl Display) -> Said {
        Said { level: Level::Warn, ..Said::info(what, text) }
    }

    pub fn error(what: &'static str, text: impl Display) -> Said {
        Said { level: Level::Error, ..Said::info(what, text) }
    }

    pub fn dataset(self, dataset: impl Display) -> Said {
        Said { dataset: Some(dataset.to_string()), ..self }
    }

    pub fn peer(self, peer: impl Display) -> Said {
        Said { peer: Some(peer.to_string()), ..self }
    }
}

/// A line as JSON. Fields may be added, never changed.
#[derive(Serialize)]
struct Object<'a> {
    time: &'a str,
    level: Level,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    text: &'a str,
}

/// Unix time in milliseconds.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Where it is said.
#[derive(Clone)]
pub struct Log {
    json: bool,
    /// None where whoever reads is there now.
    clock: Option<Clock>,
    to: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Log {
    /// Standard error: for people when it is a terminal. Nobody may be there to read it, which changes nothing.
    pub fn stderr(clock: Clock) -> Log {
        let json = !std::io::stderr().is_terminal();
        Log::to(json, clock, Arc::new(|line| drop(writeln!(std::io::stderr().lock(), "{line}"))))
    }

    /// Standard error of a command: lines for people, without the time.
    pub fn plain() -> Log {
        Log { json: false, clock: None, to: Arc::new(|line| drop(writeln!(std::io::stderr().lock(), "{line}"))) }
    }

    pub fn to(json: bool, clock: Clock, to: Arc<dyn Fn(&str) + Send + Sync>) -> Log {
        Log { json, clock: Some(clock), to }
    }

    pub fn say(&self, said: Said) {
        let at = self.clock.as_ref().map(|clock| Timestamp::from_millisecond(ms(clock())).unwrap_or_default());
        let Said { level, what, dataset, peer, text } = &said;
        if self.json {
            let time = format!("{:.3}", at.unwrap_or_default());
            let object = Object { time: &time, level: *level, what, dataset: dataset.as_deref(), peer: peer.as_deref(), text };
            // Text only; nothing in it can fail to be JSON.
            return (self.to)(&serde_json::to_string(&object).unwrap_or_default());
        }
        let time = at.map_or_else(String::new, |at| format!("{}  ", human::time(at, &jiff::tz::TimeZone::system())));
        let about: Vec<&str> = dataset.iter().chain(peer).map(String::as_str).collect();
        let about = if about.is_empty() { String::new() } else { format!("{}: ", about.join(", ")) };
        let level = if *level == Level::Info { String::new() } else { format!("{}: ", level.name()) };
        (self.to)(&format!("{time}{level}{}", human::text(format!("{about}{text}").as_bytes())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn lines(json: bool) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let log = Log::to(json, Arc::new(|| 1_795_262_400_123), Arc::new(move |line| kept.lock().unwrap().push(line.to_owned())));
        log.say(Said::info("exported", "snapshot 5f3a9c01\n\u{1b}[2J").dataset("shop"));
        log.say(Said::warn("unreachable", "connection refused").peer("web1"));
        lines.lock().unwrap().join("\n")
    }

    #[test]
    fn a_line_is_one_json_object_and_its_shape_stays() {
        insta::assert_snapshot!(lines(true), @r#"
        {"time":"2026-11-21T12:00:00.123Z","level":"info","what":"exported","dataset":"shop","text":"snapshot 5f3a9c01\n\u001b[2J"}
        {"time":"2026-11-21T12:00:00.123Z","level":"warn","what":"unreachable","peer":"web1","text":"connection refused"}
        "#);
    }

    #[test]
    fn on_a_terminal_a_line_is_for_people_and_cannot_move_the_cursor() {
        let text = lines(false);
        assert!(text.contains("shop: snapshot 5f3a9c01\\n\\u{1b}[2J"), "{text}");
        assert!(text.contains("warn: web1: connection refused"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
