//! What a walk sees of the base: a stretch of its bytes, and where it lies. It asks for none.

/// The base's bytes in sight.
pub(super) struct View<'b> {
    pub(super) bytes: &'b [u8],
    pub(super) start: u64,
    pub(super) base_len: u64,
}

impl View<'_> {
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub(super) fn is_last(&self) -> bool {
        self.end() >= self.base_len
    }

    /// Place in `bytes` of an offset in the base, cut to what is in sight.
    pub(super) fn clamp(&self, offset: i64) -> usize {
        (offset - self.start as i64).clamp(0, self.bytes.len() as i64) as usize
    }

    /// What is in sight from an offset on; nothing when that is out of sight.
    pub(super) fn from(&self, offset: i64) -> &[u8] {
        let relative = offset - self.start as i64;
        match relative < 0 {
            true => &[],
            false => &self.bytes[(relative as usize).min(self.bytes.len())..],
        }
    }
}
