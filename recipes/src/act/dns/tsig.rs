//! TSIG (RFC 8945): messages signed with a key that both sides have, and answers that are believed only when they are signed so.
//!
//! The key is read from a file in BIND's own words (`key "name" { algorithm hmac-sha256; secret "…"; };`, what `tsig-keygen` writes), which nobody else may read. HMAC with
//! SHA-256, SHA-384 and SHA-512 are known; MD5 and SHA-1 are not.

use std::io;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::message::{Answer, KIND_TSIG, Message};
use super::name::Name;

/// By so much may clocks differ.
pub const FUDGE_SECONDS: u16 = 300;
const CLASS_ANY: u16 = 255;
const BADSIG: u16 = 16;
const BADKEY: u16 = 17;
const BADTIME: u16 = 18;

pub struct Key {
    name: Name,
    algorithm: Name,
    key: hmac::Key,
}

/// What was signed, which the answer's signature covers, too.
pub struct Signed {
    mac: Vec<u8>,
}

/// Why an answer is not believed, or says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    Unsigned,
    /// It is signed, and not with our key.
    Forged,
    Key,
    Signature,
    /// The server's clock, where it says.
    Clock(Option<u64>),
    Other(u16),
}

impl Key {
    pub fn open(path: &Path) -> io::Result<Key> {
        let text = crate::secret::private(path)?;
        Key::parse(&text).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// Nothing of the secret is in what it complains about.
    pub fn parse(text: &str) -> Result<Key, String> {
        let lines = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default().split('#').next().unwrap_or_default());
        let text = lines.collect::<Vec<_>>().join(" ").replace(['{', '}', ';', '"'], " ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let behind = |what: &str| words.iter().position(|word| *word == what).and_then(|at| words.get(at + 1)).copied();
        let missing = |what: &str| format!("there is no {what} in it; `tsig-keygen NAME` writes such a file");
        if words.iter().filter(|word| **word == "secret").count() > 1 {
            return Err("there is more than one key in it".into());
        }
        let rooted = |text: &str| Name::parse(format!("{}.", text.trim_end_matches('.')).as_bytes(), None);
        let name = rooted(behind("key").ok_or_else(|| missing("key"))?);
        // What stands there may be the secret, in the wrong place.
        let name = name.map_err(|_| "what stands behind `key` in it is no name".to_owned())?;
        let algorithm = behind("algorithm").ok_or_else(|| missing("algorithm"))?.to_ascii_lowercase();
        let hash = match algorithm.as_str() {
            "hmac-sha256" => hmac::HMAC_SHA256,
            "hmac-sha384" => hmac::HMAC_SHA384,
            "hmac-sha512" => hmac::HMAC_SHA512,
            old @ ("hmac-md5" | "hmac-md5.sig-alg.reg.int" | "hmac-sha1" | "hmac-sha224") => {
                return Err(format!("its algorithm {old} is not known here; hmac-sha256, hmac-sha384 and hmac-sha512 are"));
            }
            _ => return Err("its algorithm is not known here; hmac-sha256, hmac-sha384 and hmac-sha512 are".into()),
        };
        let secret = STANDARD
            .decode(behind("secret").ok_or_else(|| missing("secret"))?)
            .map_err(|_| "its secret is no base64".to_owned())?;
        Ok(Key { name, algorithm: rooted(&algorithm)?, key: hmac::Key::new(hash, &secret) })
    }

    pub fn name(&self) -> String {
        self.name.plain()
    }

    /// What is covered besides the message.
    fn variables(&self, time: u64, fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
        let mut bytes = self.name.wire();
        bytes.extend_from_slice(&CLASS_ANY.to_be_bytes());
        bytes.extend_from_slice(&0_u32.to_be_bytes());
        bytes.extend_from_slice(&self.algorithm.wire());
        bytes.extend_from_slice(&time.to_be_bytes()[2..]);
        for number in [fudge, error, other.len() as u16] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(other);
        bytes
    }

    /// Signs the message at this time, in seconds.
    pub fn sign(&self, message: &mut Message, now: u64) -> Signed {
        let covered = [message.bytes.clone(), self.variables(now, FUDGE_SECONDS, 0, &[])].concat();
        let mac = hmac::sign(&self.key, &covered).as_ref().to_vec();
        let id = [message.bytes[0], message.bytes[1]];
        let mut value = self.algorithm.wire();
        value.extend_from_slice(&now.to_be_bytes()[2..]);
        value.extend_from_slice(&FUDGE_SECONDS.to_be_bytes());
        value.extend_from_slice(&(mac.len() as u16).to_be_bytes());
        value.extend_from_slice(&mac);
        value.extend_from_slice(&id);
        value.extend_from_slice(&[0; 4]);
        message.count(3);
        message.bytes.extend_from_slice(&self.name.wire());
        message.put(KIND_TSIG);
        message.put(CLASS_ANY);
        message.bytes.extend_from_slice(&[0; 4]);
        message.put(value.len() as u16);
        message.bytes.extend_from_slice(&value);
        Signed { mac }
    }

    /// Whether this is the answer to what was signed, from somebody who has the key.
    pub fn verify(&self, bytes: &[u8], answer: &Answer, signed: &Signed, now: u64) -> Result<(), Doubt> {
        let Some(record) = answer.additional.last().filter(|record| record.kind.0 == KIND_TSIG && record.class == CLASS_ANY) else {
            return Err(Doubt::Unsigned);
        };
        let Some(part) = Part::read(&record.value) else { return Err(Doubt::Forged) };
        match part.error {
            BADSIG => return Err(Doubt::Signature),
            BADKEY => return Err(Doubt::Key),
            _ if record.name != self.name || part.algorithm != self.algorithm => return Err(Doubt::Forged),
            _ => {}
        }
        let mut message = bytes[..record.start].to_vec();
        let count = u16::from_be_bytes([message[10], message[11]]).wrapping_sub(1);
        message[10..12].copy_from_slice(&count.to_be_bytes());
        message[..2].copy_from_slice(&part.id);
        let length = (signed.mac.len() as u16).to_be_bytes().to_vec();
        let covered = [length, signed.mac.clone(), message, self.variables(part.time, part.fudge, part.error, part.other)].concat();
        hmac::verify(&self.key, &covered, part.mac).map_err(|_| Doubt::Forged)?;
        match part.error {
            0 if part.time.abs_diff(now) > u64::from(part.fudge) => Err(Doubt::Clock(Some(part.time))),
            0 => Ok(()),
            BADTIME => Err(Doubt::Clock(six(part.other))),
            error => Err(Doubt::Other(error)),
        }
    }
}

fn six(bytes: &[u8]) -> Option<u64> {
    let six: [u8; 6] = bytes.try_into().ok()?;
    Some(six.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The value of a TSIG record.
struct Part<'a> {
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: &'a [u8],
    id: [u8; 2],
    error: u16,
    other: &'a [u8],
}

impl Part<'_> {
    fn read(value: &[u8]) -> Option<Part<'_>> {
        let mut at = 0;
        let algorithm = Name::read(value, &mut at)?;
        let mut take = |length: usize| {
            let bytes = value.get(at..at + length)?;
            at += length;
            Some(bytes)
        };
        let number = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
        let time = six(take(6)?)?;
        let fudge = number(take(2)?)?;
        let length = usize::from(number(take(2)?)?);
        let mac = take(length)?;
        let id = take(2)?.try_into().ok()?;
        let error = number(take(2)?)?;
        let length = usize::from(number(take(2)?)?);
        let other = take(length)?;
        (at == value.len()).then_some(Part { algorithm, time, fudge, mac, id, error, other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::dns::set::Kind;

    const TEXT: &str = "key \"Move\" {\n\talgorithm hmac-sha256; // or another\n\tsecret \"MDEyMzQ1Njc4OWFiY2RlZg==\";\n};\n";

    #[test]
    fn a_key_is_read_as_bind_writes_it() {
        assert_eq!(Key::parse(TEXT).unwrap().name(), "move");
        for (from, to, why) in [
            ("hmac-sha256", "hmac-md5", "hmac-md5 is not known"),
            ("MDEy", "!", "no base64"),
            ("secret", "sacred", "no secret"),
            ("key", "kay", "no key"),
        ] {
            let wrong = Key::parse(&TEXT.replace(from, to)).err().unwrap();
            assert!(wrong.contains(why) && !wrong.contains("Njc4"), "{wrong}");
        }
        assert!(Key::parse(&TEXT.repeat(2)).err().unwrap().contains("more than one"));
    }

    /// The answer of a server that has this key, to an update of example.org that was signed; its own time and error.
    fn answered(key: &Key, signed: &Signed, (time, error, other): (u64, u16, &[u8])) -> Vec<u8> {
        let mut message = Message { bytes: vec![0, 7, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
        let length = (signed.mac.len() as u16).to_be_bytes().to_vec();
        let covered = [length, signed.mac.clone(), message.bytes.clone(), key.variables(time, 300, error, other)].concat();
        let mac = hmac::sign(&key.key, &covered);
        let numbers = |list: &[u16]| list.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>();
        let head = [key.algorithm.wire(), time.to_be_bytes()[2..].to_vec(), numbers(&[300, mac.as_ref().len() as u16])].concat();
        let value = [&head, mac.as_ref(), &numbers(&[7, error, other.len() as u16]), other].concat();
        message.count(3);
        message
            .bytes
            .extend([key.name.wire(), numbers(&[KIND_TSIG, CLASS_ANY, 0, 0, value.len() as u16]), value].concat());
        message.bytes
    }

    #[test]
    fn an_answer_counts_only_as_it_was_signed_for_this_question_at_this_time() {
        let key = |text: &str| Key::parse(text).unwrap();
        let (ours, name) = (key(TEXT), Name::parse(b"example.org.", None).unwrap());
        let signed = ours.sign(&mut Message::update(7, &name, &[], &[]), 1_000);
        let judged = |bytes: &[u8]| Answer::read(bytes).map(|answer| ours.verify(bytes, &answer, &signed, 1_000));
        let good = answered(&ours, &signed, (1_100, 0, &[]));
        assert_eq!(judged(&good), Some(Ok(())));
        assert_eq!(judged(&answered(&ours, &signed, (1_301, 0, &[]))), Some(Err(Doubt::Clock(Some(1_301)))));
        let late = answered(&ours, &signed, (1_000, BADTIME, &[0, 0, 0, 0, 0x20, 0]));
        assert_eq!(judged(&late), Some(Err(Doubt::Clock(Some(0x2000)))));
        for (from, to) in [("sha256", "sha512"), ("Njc4", "Njc5"), ("Move", "Move2")] {
            let theirs = answered(&key(&TEXT.replace(from, to)), &signed, (1_100, 0, &[]));
            assert_eq!(judged(&theirs), Some(Err(Doubt::Forged)), "{to}");
        }
        let other = ours.sign(&mut Message::update(8, &name, &[], &[]), 1_000);
        assert_eq!(judged(&answered(&ours, &other, (1_100, 0, &[]))), Some(Err(Doubt::Forged)), "of another question");
        // Whoever passes it on may change its number, which is signed elsewhere, and nothing hangs on how long a signature is remembered.
        let free = |at: usize| [0, 1, 22, 23, 24, 25].contains(&at);
        for at in (0..good.len()).filter(|at| !free(*at)) {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                // Letters have no case.
                let is_letter = bit == 5 && good[at].is_ascii_alphabetic();
                assert!(is_letter || judged(&bytes) != Some(Ok(())), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn an_answer_that_nobody_signed_is_not_believed() {
        let (key, name) = (Key::parse(TEXT).unwrap(), Name::parse(b"example.org.", None).unwrap());
        let mut message = Message::question(7, &name, Kind::A);
        let signed = key.sign(&mut message, 1_000);
        message.bytes[2] |= 0x80;
        let mut bytes = message.bytes.clone();
        let answer = Answer::read(&bytes).unwrap();
        assert_eq!(key.verify(&bytes, &answer, &signed, 1_000), Err(Doubt::Forged), "a question sent back is no answer");
        bytes.truncate(12);
        bytes[4..12].fill(0);
        let answer = Answer::read(&bytes).unwrap();
        assert_eq!(key.verify(&bytes, &answer, &signed, 1_000), Err(Doubt::Unsigned));
    }
}
