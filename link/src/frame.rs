//! Many items in one answer: each as a number, a length and its bytes; a mark at the end tells a whole answer from one that broke off.
//!
//! The number says which of the things asked for it is: a segment's sequence, or the place of a record's name in the question.

use bytes::{Buf, BufMut, Bytes, BytesMut};

const END: u32 = u32::MAX;
const HEAD: usize = 8;

/// What stands before an item's bytes.
pub fn head(number: u32, len: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(HEAD);
    head.put_u32_le(number);
    head.put_u32_le(len as u32);
    head.freeze()
}

/// What stands behind the last item.
pub fn end() -> Bytes {
    head(END, 0)
}

/// Takes an answer apart as it comes.
pub struct Frames {
    buffer: BytesMut,
    /// No item is longer.
    most: usize,
    ended: bool,
}

impl Frames {
    pub fn new(most: usize) -> Frames {
        Frames { buffer: BytesMut::new(), most, ended: false }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole item.
    pub fn take(&mut self) -> Result<Option<(u32, Bytes)>, &'static str> {
        if self.ended {
            return if self.buffer.is_empty() { Ok(None) } else { Err("something follows its end") };
        }
        let Some(mut head) = self.buffer.get(..HEAD) else { return Ok(None) };
        let (number, len) = (head.get_u32_le(), head.get_u32_le() as usize);
        if number == END && len == 0 {
            self.buffer.advance(HEAD);
            self.ended = true;
            return self.take();
        }
        if len > self.most {
            return Err("an item of it is longer than any can be");
        }
        if self.buffer.len() < HEAD + len {
            self.buffer.reserve(HEAD + len - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Ok(Some((number, self.buffer.split_to(len).freeze())))
    }

    /// Whether the end mark was seen.
    pub fn is_whole(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_however_they_are_cut_and_an_answer_without_end_is_not_whole() {
        let items: [(u32, &[u8]); 3] = [(0, b"first"), (7, b""), (END - 1, b"last")];
        let mut sent = Vec::new();
        for (number, bytes) in items {
            sent.extend_from_slice(&head(number, bytes.len()));
            sent.extend_from_slice(bytes);
        }
        sent.extend_from_slice(&end());
        for cut in 1..sent.len() {
            let (mut frames, mut got) = (Frames::new(5), Vec::new());
            for part in sent.chunks(cut) {
                assert!(!frames.is_whole());
                frames.add(part);
                while let Some((number, bytes)) = frames.take().unwrap() {
                    got.push((number, bytes.to_vec()));
                }
            }
            assert!(frames.is_whole());
            assert_eq!(got, items.map(|(number, bytes)| (number, bytes.to_vec())));
        }
        let mut frames = Frames::new(4);
        frames.add(&sent);
        assert!(frames.take().is_err(), "an item of five bytes is too long");
        let mut frames = Frames::new(5);
        frames.add(&[&sent[..], b"more"].concat());
        while let Ok(Some(_)) = frames.take() {}
        assert!(frames.take().is_err());
    }
}
