//! `[alert]`: who is told when something is not ok, the same in both files; and the URLs that are pinged for a dataset.
//!
//! Without a way of delivery nobody is told, which is allowed: `status` and `/metrics` say the same. What is written as a way
//! and cannot be one is a mistake here, because it would be found out in the hour of need.

use std::time::Duration;

use crate::located::Section;

const CONFIRM_DEFAULT: Duration = Duration::from_secs(60);
const REMIND_LEAST: Duration = Duration::from_secs(60);
const CONFIRM_MOST: Duration = Duration::from_secs(86_400);

/// `[alert]` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Program and arguments; gets JSON on its standard input. Empty is none.
    pub command: Vec<String>,
    /// An address, through the local sendmail.
    pub mail: Option<String>,
    /// Gets JSON by POST.
    pub url: Option<String>,
    /// Tell again of what is open still.
    pub remind: Option<Duration>,
    /// How long something is not ok before it is told.
    pub confirm: Duration,
}

impl Default for Alert {
    fn default() -> Alert {
        Alert { command: Vec::new(), mail: None, url: None, remind: None, confirm: CONFIRM_DEFAULT }
    }
}

pub(crate) fn read(section: Option<Section<'_>>) -> Alert {
    let Some(mut section) = section else { return Alert::default() };
    let command = section.strings("command");
    match command.as_ref().map(|words| words.first().map(String::as_str)) {
        Some(None | Some("")) => section.wrong("command", "is empty; write it as [\"/usr/local/bin/tell\", \"--urgent\"]"),
        Some(Some(program)) if !program.starts_with('/') => {
            section.wrong("command", format!("`{program}` must be the whole path of a program, beginning with /; no shell looks for it"));
        }
        _ => (),
    }
    let alert = Alert {
        command: command.unwrap_or_default(),
        mail: section.parsed("mail", address),
        url: section.parsed("url", url),
        remind: section.duration("remind"),
        confirm: section.duration("confirm").unwrap_or(CONFIRM_DEFAULT),
    };
    if alert.remind.is_some_and(|remind| remind < REMIND_LEAST) {
        section.wrong("remind", "is shorter than a minute, which is no reminder but a flood");
    }
    if alert.confirm > CONFIRM_MOST {
        section.wrong("confirm", "is longer than a day; nobody would be told in time");
    }
    if alert.command.is_empty() && alert.mail.is_none() && alert.url.is_none() {
        let ways = ["command", "mail", "url"].iter().any(|way| section.has(way));
        if !ways {
            section.wrong_here("says nobody to tell; give it one of command, mail, url");
        }
    }
    section.finish(&[]);
    alert
}

/// One plain address; what it must not hold could end a header or be read as an option.
fn address(text: &str) -> Result<String, String> {
    let user = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    let host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let (name, domain) = text.split_once('@').unwrap_or((text, "localhost"));
    let fits = !name.is_empty() && !domain.is_empty() && name.chars().all(user) && domain.chars().all(host);
    if fits && text.len() <= 254 && !text.starts_with('-') {
        return Ok(text.to_owned());
    }
    Err(format!("`{}` is no mail address, as \"ops@example.org\"; one only, without a name", crate::human::text(text.as_bytes())))
}

/// Where a hook or a ping goes. Not shown again when it is wrong: its path may be a secret.
pub(crate) fn url(text: &str) -> Result<String, String> {
    let local = |host: &str| ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\' && b != b'#');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).filter(|_| plain);
    let Some(rest) = rest else {
        return Err("must be one URL that begins with https://, as \"https://hooks.example.org/resilient\"".into());
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, port)| if port.parse::<u16>().is_ok() { host } else { authority });
    if authority.contains('@') {
        return Err("holds a name or a password before `@`; put the secret into its path instead".into());
    }
    if host.is_empty() {
        return Err("names no host".into());
    }
    if text.starts_with("http://") && !local(host) {
        return Err("must begin with https://; http:// is for this host itself only".into());
    }
    Ok(text.to_owned())
}
