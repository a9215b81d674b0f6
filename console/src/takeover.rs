//! `[takeover]`: kept as it stands, its own keys checked.
//!
//! What the acts want inside `vip` and `dns` is theirs to check; here only a misspelt switch is caught, because one that is
//! silently ignored would be found out in the hour of need.

use crate::located::Section;

/// `[takeover]` as written; without it there is no lease, no fencing, and takeover is done by hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Takeover {
    pub automatic: bool,
    pub services: Vec<String>,
    pub table: toml::Table,
}

pub(crate) fn read(mut section: Section<'_>) -> Takeover {
    let table = section.rest();
    let automatic = section.boolean("automatic").unwrap_or(false);
    let services = section.strings("services").unwrap_or_default();
    for duration in ["max_loss", "final_export", "max_pause"] {
        section.duration(duration);
    }
    for list in ["vip", "dns", "hook", "check"] {
        section.sections(list);
    }
    section.parsed("two_hosts", |text| one_of(text, &["refuse", "fence"]));
    section.parsed("failback", |text| one_of(text, &["switchover", "automatic"]));
    section.finish(&[]);
    Takeover { automatic, services, table }
}

pub(crate) fn one_of(text: &str, choices: &[&str]) -> Result<String, String> {
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    let list: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
    Err(format!("must be {}, not \"{text}\"", list.join(" or ")))
}
