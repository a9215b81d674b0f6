//! D-Bus messages as bytes, as far as they are needed: strings, numbers, arrays of strings, variants of these. Little endian; every
//! value lies at a multiple of its own size.

use std::io;

/// More than systemd ever answers about a unit.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// A message up to its fields' length.
pub(super) const HEADER_BYTES: usize = 16;

pub(super) const REPLY: u8 = 2;
pub(super) const ERROR: u8 = 3;

/// An argument of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument<'a> {
    Text(&'a str),
    Number(i32),
}

/// A value in an answer; what is of no use here is not told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Texts(Vec<String>),
    /// A job: its number, and its path.
    Job(u32, String),
    Nothing,
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Message {
    pub kind: u8,
    pub replies_to: Option<u32>,
    pub error: Option<String>,
    pub signature: String,
    pub body: Vec<u8>,
}

/// What is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    /// None where there is no bus between.
    pub destination: Option<&'a str>,
}

struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    /// A field of the header: a structure, which lies at a multiple of eight.
    fn field(&mut self, code: u8, kind: &str, text: &str) {
        self.align(8);
        self.0.push(code);
        self.signature(kind);
        if kind == "g" { self.signature(text) } else { self.text(text) }
    }
}

pub(super) fn call(serial: u32, target: Target, arguments: &[Argument]) -> Vec<u8> {
    let mut body = Writer(Vec::new());
    let mut signature = String::new();
    for argument in arguments {
        match argument {
            Argument::Text(text) => {
                signature.push('s');
                body.text(text);
            }
            Argument::Number(number) => {
                signature.push('i');
                body.number(number.cast_unsigned());
            }
        }
    }
    let mut message = Writer(vec![b'l', 1, 0, 1]);
    message.number(body.0.len() as u32);
    message.number(serial);
    // The fields' length, known when they are written.
    message.number(0);
    message.field(1, "o", target.path);
    message.field(2, "s", target.interface);
    message.field(3, "s", target.member);
    if let Some(destination) = target.destination {
        message.field(6, "s", destination);
    }
    if !signature.is_empty() {
        message.field(8, "g", &signature);
    }
    let fields = (message.0.len() - HEADER_BYTES) as u32;
    message.0[12..16].copy_from_slice(&fields.to_le_bytes());
    message.align(8);
    message.0.extend_from_slice(&body.0);
    message.0
}

pub(super) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("systemd's answer cannot be understood: {what}"))
}

/// How many bytes follow the first sixteen.
pub(super) fn rest_bytes(header: &[u8; HEADER_BYTES]) -> io::Result<usize> {
    if header[0] != b'l' || header[3] != 1 {
        return Err(broken("another byte order, or another version"));
    }
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let rest = number(12).checked_next_multiple_of(8).and_then(|fields| fields.checked_add(number(4)));
    rest.filter(|rest| *rest <= MESSAGE_BYTES_MAX).ok_or_else(|| broken("a message without an end"))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> io::Result<&'a [u8]> {
        let end = self
            .at
            .checked_add(n)
            .filter(|end| *end <= self.bytes.len())
            .ok_or_else(|| broken("it is too short"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> io::Result<()> {
        self.take(self.at.next_multiple_of(to) - self.at).map(drop)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self, bytes: usize) -> io::Result<u64> {
        self.align(bytes)?;
        let mut whole = [0; 8];
        whole[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(whole))
    }

    fn words(&mut self, n: usize) -> io::Result<String> {
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| broken("a text that is none"))?.to_owned();
        self.byte()?;
        Ok(text)
    }

    fn text(&mut self) -> io::Result<String> {
        let len = self.number(4)? as usize;
        self.words(len)
    }

    fn signature(&mut self) -> io::Result<String> {
        let len = usize::from(self.byte()?);
        self.words(len)
    }

    fn texts(&mut self) -> io::Result<Vec<String>> {
        let len = self.number(4)? as usize;
        let end = self.at.checked_add(len).ok_or_else(|| broken("a length"))?;
        let mut texts = Vec::new();
        while self.at < end {
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    fn value(&mut self, signature: &str) -> io::Result<Value> {
        Ok(match signature {
            "s" | "o" => Value::Text(self.text()?),
            "g" => Value::Text(self.signature()?),
            "y" => Value::Number(u64::from(self.byte()?)),
            "u" | "b" | "i" => Value::Number(self.number(4)?),
            "t" | "x" => Value::Number(self.number(8)?),
            "as" => Value::Texts(self.texts()?),
            "(uo)" => {
                self.align(8)?;
                Value::Job(self.number(4)? as u32, self.text()?)
            }
            "v" => {
                let inner = self.signature()?;
                // A variant in a variant in a variant: nobody sends that, and it must not be followed for ever.
                if inner == "v" { Value::Nothing } else { self.value(&inner)? }
            }
            _ => Value::Nothing,
        })
    }
}

/// A message from its first sixteen bytes and the rest.
pub(super) fn message(header: &[u8; HEADER_BYTES], rest: &[u8]) -> io::Result<Message> {
    let mut message = Message { kind: header[1], replies_to: None, error: None, signature: String::new(), body: Vec::new() };
    let fields = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
    let mut reader = Reader { bytes: rest, at: 0 };
    while reader.at < fields {
        reader.align(8)?;
        let (code, kind) = (reader.byte()?, reader.signature()?);
        match (code, reader.value(&kind)?) {
            (4, Value::Text(name)) => message.error = Some(name),
            (5, Value::Number(serial)) => message.replies_to = u32::try_from(serial).ok(),
            (8, Value::Text(signature)) => message.signature = signature,
            (_, Value::Nothing) => return Err(broken("a field of an unknown kind")),
            _ => (),
        }
    }
    reader.align(8)?;
    message.body = rest[reader.at..].to_vec();
    Ok(message)
}

impl Message {
    /// The first value of the body.
    pub fn value(&self) -> io::Result<Value> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        // An error's body may have several.
        let first = if self.signature.starts_with('s') { "s" } else { self.signature.as_str() };
        if first.is_empty() { Ok(Value::Nothing) } else { reader.value(first) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Message> {
        let header: [u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().unwrap();
        let rest = rest_bytes(&header)?;
        message(&header, bytes.get(HEADER_BYTES..HEADER_BYTES + rest).ok_or_else(|| broken("it is too short"))?)
    }

    #[test]
    fn what_is_written_is_read_and_no_flipped_byte_breaks_the_reader() {
        let target = Target { path: "/a", interface: "b.c", member: "D", destination: Some("e.f") };
        let bytes = call(7, target, &[Argument::Text("shop.service"), Argument::Number(-9)]);
        let message = parse(&bytes).unwrap();
        assert_eq!((message.kind, message.signature.as_str()), (1, "si"));
        assert_eq!(message.value().unwrap(), Value::Text("shop.service".into()));
        for at in 0..bytes.len() {
            for flip in [1, 0x20, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                if let Ok(message) = parse(&bytes) {
                    let _ = message.value();
                }
            }
        }
    }

    #[test]
    fn variants_are_opened() {
        let mut body = Writer(Vec::new());
        body.signature("as");
        body.number(0);
        let begin = body.0.len();
        body.text("one");
        body.text("two");
        let len = (body.0.len() - begin) as u32;
        body.0[begin - 4..begin].copy_from_slice(&len.to_le_bytes());
        let message = Message { kind: REPLY, replies_to: Some(1), error: None, signature: "v".into(), body: body.0 };
        assert_eq!(message.value().unwrap(), Value::Texts(vec!["one".into(), "two".into()]));
    }
}
