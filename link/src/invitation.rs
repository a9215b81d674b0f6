//! An invitation: one line that a person carries from a pull-backup to a node. It names the pull-backup and its key, and holds a token that works once.
//!
//! `resilient1:HOST:PORT:PIN:TOKEN:EXPIRES`. Whoever has the line can join until it is used or expires, so it is told as a secret. The pull-backup keeps only
//! the token's hash.

use crate::error::{Error, Result};
use crate::identity::Pin;
use archive::digest::sha256;
use archive::id::{hex, unhex};
use std::fmt;

/// What makes an invitation good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token(pub [u8; 16]);

impl Token {
    pub fn new() -> Token {
        Token(archive::sign::random())
    }

    pub fn parse(text: &str) -> Option<Token> {
        unhex(text).map(Token)
    }

    /// What is kept of it.
    pub fn hash(&self) -> String {
        hex(&sha256(&[b"resilient invitation".as_slice(), &self.0].concat()).0)
    }

    pub fn reveal(&self) -> String {
        hex(&self.0)
    }
}

impl Default for Token {
    fn default() -> Self {
        Token::new()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// HOST:PORT of the pull-backup.
    pub address: String,
    pub pin: Pin,
    pub token: Token,
    /// Unix time in seconds.
    pub expires: u64,
}

const BEGINNING: &str = "resilient1:";

impl Invitation {
    pub fn line(&self) -> String {
        format!("{BEGINNING}{}:{}:{}:{}", self.address, self.pin, self.token.reveal(), self.expires)
    }

    pub fn parse(line: &str) -> Result<Invitation> {
        let wrong = |why| Error::Invitation { why };
        let rest = line.trim().strip_prefix(BEGINNING).ok_or(wrong("it does not begin with resilient1:"))?;
        let mut parts = rest.rsplitn(4, ':');
        let expires = parts.next().and_then(|text| text.parse().ok()).ok_or(wrong("it ends too early or too late"))?;
        let token = parts.next().and_then(Token::parse).ok_or(wrong("its token is not whole"))?;
        let pin = parts.next().and_then(Pin::parse).ok_or(wrong("its key is not whole"))?;
        let address = parts.next().unwrap_or_default();
        let port = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !port {
            return Err(wrong("it has no address and port"));
        }
        Ok(Invitation { address: address.into(), pin, token, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_a_part_of_it_is_not() {
        for address in ["backup.example.org:8025", "[2001:db8::1]:8025", "192.0.2.7:1"] {
            let whole = Invitation { address: address.into(), pin: Pin([7; 32]), token: Token::new(), expires: 1_800_000_000 };
            let line = whole.line();
            assert_eq!(Invitation::parse(&format!(" {line}\n")).unwrap(), whole);
            for end in 0..line.len() - 10 {
                assert!(Invitation::parse(&line[..end]).is_err(), "{}", &line[..end]);
            }
            assert!(!format!("{whole:?}").contains(&whole.token.reveal()), "a token is not told in passing");
        }
    }
}
