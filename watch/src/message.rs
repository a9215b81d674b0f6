//! What is told of an incident: a subject, a text for people, JSON for programs.

use serde::{Deserialize, Serialize};

use crate::health::Word;
use crate::place::Place;
use crate::words::{length, moment};

/// What happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    Opened,
    /// It is open still; only where reminders are asked for.
    Reminder,
    Closed,
}

/// One message, fit for any way of delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// One line.
    pub subject: String,
    pub text: String,
    /// One JSON object; the body of a URL hook.
    pub json: String,
}

/// The JSON of a message. Fields may be added, never changed.
#[derive(Debug, Serialize)]
struct Body<'a> {
    event: Event,
    #[serde(flatten)]
    place: &'a Place,
    word: Word,
    why: &'a str,
    since: String,
    /// When it was well again; null until then.
    until: Option<String>,
    lasted_seconds: u64,
    host: &'a str,
}

/// What a message is made of.
pub(crate) struct Report<'a> {
    pub event: Event,
    pub place: &'a Place,
    pub word: Word,
    pub why: &'a str,
    pub since_ms: i64,
    pub now_ms: i64,
    pub host: &'a str,
}

impl Message {
    pub(crate) fn of(report: &Report<'_>) -> Message {
        let Report { event, place, word, why, since_ms, now_ms, host } = report;
        let lasted_ms = now_ms.saturating_sub(*since_ms).max(0);
        let closed = *event == Event::Closed;
        let (subject, what) = match event {
            Event::Opened => (format!("[resilient] {place} is {}", word.name()), format!("since {}", moment(*since_ms))),
            Event::Reminder => {
                (format!("[resilient] {place} is {} still", word.name()), format!("since {}, for {}", moment(*since_ms), length(lasted_ms)))
            }
            Event::Closed => (
                format!("[resilient] {place} is ok again"),
                format!("from {} to {}, {}", moment(*since_ms), moment(*now_ms), length(lasted_ms)),
            ),
        };
        let state = if closed { format!("ok again; it was {}", word.name()) } else { word.name().to_owned() };
        let last = if closed { "Why it was so: " } else { "Why: " };
        let text = format!("{place}: {state} ({what}).\n\n{last}{why}.\n\nTold by {host}.\n");
        let body = Body {
            event: *event,
            place,
            word: *word,
            why,
            since: moment(*since_ms),
            until: closed.then(|| moment(*now_ms)),
            lasted_seconds: lasted_ms as u64 / 1_000,
            host,
        };
        // Text and numbers only; nothing in it can fail to be JSON.
        let json = serde_json::to_string(&body).unwrap_or_default();
        Message { subject, text, json }
    }
}
