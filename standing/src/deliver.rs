//! The ways by which alerts leave this host, as `[alert]` has them. Each message goes on a thread or task of its own, so that one that is slow delays nothing.

use crate::error::{Error, Result};
use crate::hook::Hook;
use console::node_file::Alert;
use link::pull::chain;
use std::sync::Arc;
use tokio::sync::mpsc;
use watch::deliver::{ByCommand, ByMail, Deliver, TIME_DEFAULT};
use watch::mail::SENDMAIL;
use watch::{Message, Policy};

/// How one went.
#[derive(Debug)]
pub struct Went {
    pub channel: String,
    pub outcome: std::result::Result<(), String>,
}

enum Way {
    Command(ByCommand),
    Mail(ByMail),
    Url(String),
}

pub struct Ways {
    ways: Vec<(&'static str, Way)>,
    hook: Arc<Hook>,
}

const COMMAND: &str = "command";
const MAIL: &str = "mail";
const URL: &str = "url";

impl Ways {
    /// What the configuration let pass can be a way.
    pub fn of(alert: &Alert, hook: Arc<Hook>) -> std::result::Result<Ways, watch::Error> {
        let mut ways = Vec::new();
        if !alert.command.is_empty() {
            ways.push((COMMAND, Way::Command(ByCommand::new(alert.command.clone(), TIME_DEFAULT)?)));
        }
        if let Some(to) = &alert.mail {
            ways.push((MAIL, Way::Mail(ByMail::new(to, SENDMAIL, TIME_DEFAULT)?)));
        }
        if let Some(url) = &alert.url {
            ways.push((URL, Way::Url(url.clone())));
        }
        Ok(Ways { ways, hook })
    }

    /// Begins to deliver; how it went comes to `to`, later.
    pub fn begin(&self, channel: &str, message: Message, to: mpsc::UnboundedSender<Went>) {
        let way = self.ways.iter().find(|(name, _)| *name == channel).map(|(_, way)| way);
        let begun = match way {
            Some(Way::Command(command)) => aside(command.clone(), message, to.clone()),
            Some(Way::Mail(mail)) => aside(mail.clone(), message, to.clone()),
            Some(Way::Url(url)) => {
                let (hook, url, to) = (self.hook.clone(), url.clone(), to.clone());
                tokio::spawn(async move {
                    let outcome = hook.post(&url, message.json).await.map_err(|error| chain(&error));
                    // Nobody waits for it any more when the daemon ends.
                    let _ = to.send(Went { channel: URL.into(), outcome });
                });
                Ok(())
            }
            None => Ok(()),
        };
        if let Err(error) = begun {
            let _ = to.send(Went { channel: channel.into(), outcome: Err(chain(&error)) });
        }
    }
}

/// On a thread of its own and not of the runtime, whose end would wait for it.
fn aside(way: impl Deliver + 'static, message: Message, to: mpsc::UnboundedSender<Went>) -> Result<()> {
    let work = move || {
        let outcome = way.deliver(&message).map_err(|error| chain(&error));
        let _ = to.send(Went { channel: way.name().into(), outcome });
    };
    std::thread::Builder::new()
        .name("alert".into())
        .spawn(work)
        .map(drop)
        .map_err(|source| Error::Thread { source })
}

/// What is told, after how long, and by which ways.
pub fn policy(alert: &Alert, host: &str) -> Policy {
    let ways = [(COMMAND, !alert.command.is_empty()), (MAIL, alert.mail.is_some()), (URL, alert.url.is_some())];
    let channels = ways.iter().filter(|(_, is)| *is).map(|(name, _)| (*name).to_owned()).collect();
    Policy { confirm: alert.confirm, remind: alert.remind, channels, host: host.into() }
}
