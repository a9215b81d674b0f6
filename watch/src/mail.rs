//! A message as mail for the local sendmail.
//!
//! Headers hold only what cannot end them: the address was checked, the subject is one line of ASCII. The body is UTF-8, its
//! lines short enough for every server (RFC 5322: 998 bytes). `Auto-Submitted` keeps answering machines quiet.

use crate::Error;
use crate::message::Message;
use crate::words::line;

/// Where the mail systems of Debian and Red Hat put it.
pub const SENDMAIL: &str = "/usr/sbin/sendmail";
const SUBJECT_MOST: usize = 200;
const LINE_MOST: usize = 900;

/// One plain address: `ops@example.org`, or `root`.
pub fn check_address(address: &str) -> Result<(), Error> {
    let user = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    let host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    // A name alone is an account of this host.
    let (name, domain) = address.split_once('@').unwrap_or((address, "localhost"));
    let fits = !name.is_empty() && !domain.is_empty() && name.chars().all(user) && domain.chars().all(host);
    if fits && address.len() <= 254 && !address.starts_with('-') {
        return Ok(());
    }
    Err(Error::MailAddress { address: line(address, SUBJECT_MOST) })
}

/// Headers and body. `to` was checked.
pub(crate) fn compose(to: &str, message: &Message) -> String {
    let subject: String = line(&message.subject, SUBJECT_MOST).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    let mut mail = format!(
        "To: {to}\nSubject: {subject}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\n"
    );
    for text in message.text.lines().map(str::trim_end).chain(["", &message.json]) {
        fold(text, &mut mail);
    }
    mail
}

/// One line, broken where it is too long.
fn fold(text: &str, mail: &mut String) {
    let mut length = 0;
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if length + letter.len_utf8() > LINE_MOST {
            mail.push('\n');
            length = 0;
        }
        mail.push(letter);
        length += letter.len_utf8();
    }
    mail.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["ops@example.org", "root", "first.last+backup@mail.example.org"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "@", "a@", "@b", "a b@c", "a@b\nBcc: x@y", "a@b,c@d", "-oQ/tmp@x", "<a@b>", "a@b@c", "é@b", "\"a\"@b", "a;b"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_text_ends_a_header() {
        let message = Message {
            subject: "shop\r\nBcc: everyone@example.org\n\nbody é".into(),
            text: format!("first\r\n.\r\n{}\n", "ä".repeat(2_000)),
            json: "{\"event\":\"opened\"}".into(),
        };
        let mail = compose("ops@example.org", &message);
        let (head, body) = mail.split_once("\n\n").unwrap();
        assert_eq!(
            head.lines().filter(|line| line.starts_with("Subject:")).collect::<Vec<_>>(),
            ["Subject: shop Bcc: everyone@example.org body ?"]
        );
        assert_eq!(head.lines().count(), 6, "{head}");
        assert!(!head.lines().any(|line| line.starts_with("Bcc")) && head.is_ascii());
        assert!(body.lines().all(|line| line.len() <= 998) && !body.contains('\r'));
        assert!(body.starts_with("first\n.\n") && body.ends_with("{\"event\":\"opened\"}\n"));
    }
}
