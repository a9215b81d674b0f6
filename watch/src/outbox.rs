//! Messages on their way, for each channel in their order.
//!
//! A channel that fails is tried again after 10 s, then twice that and so on up to 15 min; a message that failed twenty times
//! (over three hours) is lost, and so is the oldest when two hundred wait. What is lost is counted, and shown with the last
//! error: an alert that nobody got is itself something to see. Channels do not wait for each other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::Message;
use crate::words::line;

const WAITING_MOST: usize = 200;
const ATTEMPTS_MOST: u32 = 20;
const AGAIN_MS: u64 = 10_000;
const AGAIN_MOST_MS: u64 = 900_000;
const ERROR_MOST: usize = 300;

/// One way of delivery and what waits for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Channel {
    waiting: VecDeque<Message>,
    /// Of the first that waits.
    attempts: u32,
    lost: u64,
    last_error: Option<String>,
    /// By this process's steady clock; another process tries at once.
    #[serde(skip)]
    not_before_ms: u64,
    #[serde(skip)]
    under_way: bool,
}

/// How a channel does, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub channel: String,
    pub waiting: usize,
    pub attempts: u32,
    pub lost: u64,
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Outbox {
    channels: BTreeMap<String, Channel>,
}

impl Outbox {
    /// Exactly these channels; what waited for others is dropped with them.
    pub fn set(&mut self, names: &[String]) {
        self.channels.retain(|name, _| names.contains(name));
        for name in names {
            self.channels.entry(name.clone()).or_default();
        }
    }

    pub fn push(&mut self, message: &Message) {
        for channel in self.channels.values_mut() {
            if channel.waiting.len() >= WAITING_MOST {
                // The first may be under way; the one behind it is the oldest that is not.
                let oldest = usize::from(channel.under_way);
                channel.waiting.remove(oldest);
                channel.lost += 1;
                channel.attempts = if oldest == 0 { 0 } else { channel.attempts };
            }
            channel.waiting.push_back(message.clone());
        }
    }

    pub fn take(&mut self, steady_ms: u64) -> Vec<(String, Message)> {
        let mut list = Vec::new();
        for (name, channel) in &mut self.channels {
            if channel.under_way || channel.not_before_ms > steady_ms {
                continue;
            }
            if let Some(first) = channel.waiting.front() {
                channel.under_way = true;
                list.push((name.clone(), first.clone()));
            }
        }
        list
    }

    /// How soon [`take`](Outbox::take) gives something.
    pub fn next(&self, steady_ms: u64) -> Option<Duration> {
        let ready = self.channels.values().filter(|channel| !channel.under_way && !channel.waiting.is_empty());
        ready.map(|channel| Duration::from_millis(channel.not_before_ms.saturating_sub(steady_ms))).min()
    }

    /// What was under way on a channel arrived, or failed for a reason. False if nothing was.
    pub fn ended(&mut self, name: &str, outcome: Result<(), &str>, steady_ms: u64) -> bool {
        let Some(channel) = self.channels.get_mut(name).filter(|channel| channel.under_way) else { return false };
        channel.under_way = false;
        match outcome {
            Ok(()) => {
                channel.waiting.pop_front();
                (channel.attempts, channel.not_before_ms, channel.last_error) = (0, 0, None);
            }
            Err(why) => {
                channel.attempts += 1;
                channel.last_error = Some(line(why, ERROR_MOST));
                channel.not_before_ms = steady_ms.saturating_add((AGAIN_MS << (channel.attempts - 1).min(7)).min(AGAIN_MOST_MS));
                if channel.attempts >= ATTEMPTS_MOST {
                    channel.waiting.pop_front();
                    (channel.attempts, channel.lost) = (0, channel.lost + 1);
                }
            }
        }
        true
    }

    pub fn list(&self) -> Vec<Delivery> {
        let told = |(name, channel): (&String, &Channel)| Delivery {
            channel: name.clone(),
            waiting: channel.waiting.len(),
            attempts: channel.attempts,
            lost: channel.lost,
            last_error: channel.last_error.clone(),
        };
        self.channels.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: usize) -> Message {
        Message { subject: number.to_string(), text: String::new(), json: String::new() }
    }

    fn outbox(names: &[&str]) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.set(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        outbox
    }

    #[test]
    fn one_channel_that_fails_does_not_hold_the_other() {
        let mut outbox = outbox(&["mail", "url"]);
        for number in 0..3 {
            outbox.push(&message(number));
        }
        assert_eq!(outbox.take(0).len(), 2);
        assert_eq!(outbox.take(0).len(), 0, "both are under way");
        outbox.ended("mail", Err("no\nroute"), 0);
        outbox.ended("url", Ok(()), 0);
        let next: Vec<(String, String)> = outbox.take(0).into_iter().map(|(name, message)| (name, message.subject)).collect();
        assert_eq!(next, [("url".to_owned(), "1".to_owned())]);
        assert_eq!(outbox.next(0), Some(Duration::from_secs(10)));
        assert_eq!(outbox.list()[0].last_error.as_deref(), Some("no route"));
        assert_eq!(outbox.take(10_000)[0].1.subject, "0", "the same again, in its order");
    }

    #[test]
    fn attempts_and_what_waits_have_bounds() {
        let mut outbox = outbox(&["mail"]);
        outbox.push(&message(0));
        outbox.push(&message(1));
        let (mut now, mut attempts) = (0, 0);
        while outbox.list()[0].lost == 0 {
            now += outbox.next(now).unwrap().as_millis() as u64;
            assert_eq!(outbox.take(now)[0].1.subject, "0");
            outbox.ended("mail", Err("down"), now);
            attempts += 1;
        }
        assert_eq!(attempts, 20);
        assert!((3 * 3_600_000..6 * 3_600_000).contains(&now), "{now}");
        for number in 2..500 {
            outbox.push(&message(number));
        }
        let told = &outbox.list()[0];
        assert_eq!((told.waiting, told.lost), (200, 1 + 299));
    }

    #[test]
    fn what_is_under_way_is_not_dropped_for_what_is_new() {
        let mut outbox = outbox(&["mail"]);
        outbox.push(&message(0));
        outbox.take(0);
        for number in 1..300 {
            outbox.push(&message(number));
        }
        outbox.ended("mail", Err("down"), 0);
        assert_eq!(outbox.take(10_000)[0].1.subject, "0");
        outbox.ended("mail", Ok(()), 10_000);
        assert_eq!(outbox.take(10_000)[0].1.subject, "101");
    }

    #[test]
    fn channels_that_are_gone_take_their_messages_with_them() {
        let mut outbox = outbox(&["mail"]);
        outbox.push(&message(0));
        outbox.set(&["url".to_owned()]);
        assert_eq!((outbox.take(0).len(), outbox.list().len()), (0, 1));
        assert!(!outbox.ended("mail", Ok(()), 0));
    }
}
