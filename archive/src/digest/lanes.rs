//! SHA-256 of two contents at once, where the processor has instructions for it.
//!
//! Those instructions wait for one another: a second content is hashed in the time that the first one waits. A library that hashes one content cannot do that.
//! Where the processor has no such instructions there is nothing to gain, and `each` says so by giving nothing.

use crate::id::Hash;

/// The hashes of these contents. `None` when this processor gains nothing by it.
#[cfg(not(target_arch = "x86_64"))]
pub fn each(_: &[&[u8]]) -> Option<Vec<Hash>> {
    None
}

/// The hashes of these contents. `None` when this processor gains nothing by it.
#[cfg(target_arch = "x86_64")]
pub fn each(contents: &[&[u8]]) -> Option<Vec<Hash>> {
    let able = is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3");
    able.then(|| x86::each(contents))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Hash;
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x, _mm_sha256msg1_epu32,
        _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
    };

    const CHUNK: usize = 64;

    const START: [u32; 8] = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];

    #[rustfmt::skip]
    const ROUNDS: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    /// A content that is being hashed.
    struct Lane<'a> {
        number: usize,
        state: [u32; 8],
        /// Whole chunks that are still to come, before the end.
        rest: &'a [u8],
        /// The last bytes with what the standard puts behind them; its first `done` bytes are hashed.
        end: [u8; 2 * CHUNK],
        end_len: usize,
        done: usize,
    }

    impl<'a> Lane<'a> {
        fn new(number: usize, content: &'a [u8]) -> Self {
            let (rest, last) = content.split_at(content.len() - content.len() % CHUNK);
            let mut end = [0; 2 * CHUNK];
            end[..last.len()].copy_from_slice(last);
            end[last.len()] = 0x80;
            let end_len = if last.len() + 9 <= CHUNK { CHUNK } else { 2 * CHUNK };
            end[end_len - 8..end_len].copy_from_slice(&(content.len() as u64 * 8).to_be_bytes());
            Lane { number, state: START, rest, end, end_len, done: 0 }
        }

        /// The chunks that come next.
        fn next(&self) -> &[u8] {
            if self.rest.is_empty() { &self.end[self.done..self.end_len] } else { self.rest }
        }

        fn advance(&mut self, len: usize) {
            if self.rest.is_empty() {
                self.done += len;
            } else {
                self.rest = &self.rest[len..];
            }
        }

        fn hash(&self) -> Option<Hash> {
            let bytes: Vec<u8> = self.state.iter().flat_map(|word| word.to_be_bytes()).collect();
            (self.done == self.end_len).then(|| Hash(bytes.try_into().expect("eight words are 32 bytes")))
        }
    }

    pub fn each(contents: &[&[u8]]) -> Vec<Hash> {
        let mut hashes = vec![Hash([0; 32]); contents.len()];
        let mut waiting = contents.iter().enumerate();
        let mut take = || waiting.next().map(|(number, content)| Lane::new(number, content));
        let (mut one, mut other) = (take(), take());
        while let Some(a) = &mut one {
            if let Some(b) = &mut other {
                let len = a.next().len().min(b.next().len());
                let mut states = [a.state, b.state];
                // SAFETY: the caller saw that the processor has these instructions.
                unsafe { compress(&mut states, [&a.next()[..len], &b.next()[..len]]) };
                [a.state, b.state] = states;
                a.advance(len);
                b.advance(len);
                if let Some(hash) = b.hash() {
                    hashes[b.number] = hash;
                    other = take();
                }
            } else {
                let len = a.next().len();
                let mut states = [a.state];
                // SAFETY: as above.
                unsafe { compress(&mut states, [a.next()]) };
                [a.state] = states;
                a.advance(len);
            }
            if let Some(hash) = a.hash() {
                hashes[a.number] = hash;
                one = take().or_else(|| other.take());
            }
        }
        hashes
    }

    /// Hashes chunks of several contents into their states. All have the same length, in whole chunks.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn compress<const LANES: usize>(states: &mut [[u32; 8]; LANES], contents: [&[u8]; LANES]) {
        let len = contents[0].len();
        assert!(contents.iter().all(|content| content.len() == len) && len.is_multiple_of(CHUNK), "lanes go side by side");
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let nothing = _mm_set_epi64x(0, 0);
        // The instructions want a, b, e, f in one register and c, d, g, h in another.
        let (mut abef, mut cdgh) = ([nothing; LANES], [nothing; LANES]);
        for lane in 0..LANES {
            let (low, high) = (load(&states[lane], 0), load(&states[lane], 4));
            let (cdab, efgh) = (_mm_shuffle_epi32(low, 0xb1), _mm_shuffle_epi32(high, 0x1b));
            abef[lane] = _mm_alignr_epi8(cdab, efgh, 8);
            cdgh[lane] = _mm_blend_epi16(efgh, cdab, 0xf0);
        }
        // Four rounds of each lane, with the schedule's words for them.
        macro_rules! rounds {
            ($words:expr, $from:expr) => {
                for lane in 0..LANES {
                    let keyed = _mm_add_epi32($words[lane], load(&ROUNDS, $from));
                    cdgh[lane] = _mm_sha256rnds2_epu32(cdgh[lane], abef[lane], keyed);
                    abef[lane] = _mm_sha256rnds2_epu32(abef[lane], cdgh[lane], _mm_shuffle_epi32(keyed, 0x0e));
                }
            };
        }
        // The next four words, put in the place of the oldest.
        macro_rules! schedule {
            ($oldest:ident, $second:ident, $third:ident, $newest:ident) => {
                for lane in 0..LANES {
                    let sum =
                        _mm_add_epi32(_mm_sha256msg1_epu32($oldest[lane], $second[lane]), _mm_alignr_epi8($newest[lane], $third[lane], 4));
                    $oldest[lane] = _mm_sha256msg2_epu32(sum, $newest[lane]);
                }
            };
        }
        for at in (0..len).step_by(CHUNK) {
            let before = (abef, cdgh);
            let (mut w0, mut w1, mut w2, mut w3) = ([nothing; LANES], [nothing; LANES], [nothing; LANES], [nothing; LANES]);
            for lane in 0..LANES {
                let chunk: &[u8; CHUNK] = contents[lane][at..at + CHUNK].try_into().expect("a chunk has its length");
                let word = |from: usize| {
                    // SAFETY: 16 bytes from 0, 16, 32 or 48 lie in a chunk; unaligned loads are allowed.
                    _mm_shuffle_epi8(unsafe { _mm_loadu_si128(chunk.as_ptr().add(from).cast()) }, swap)
                };
                (w0[lane], w1[lane], w2[lane], w3[lane]) = (word(0), word(16), word(32), word(48));
            }
            rounds!(w0, 0);
            rounds!(w1, 4);
            rounds!(w2, 8);
            rounds!(w3, 12);
            for from in [16, 32, 48] {
                schedule!(w0, w1, w2, w3);
                rounds!(w0, from);
                schedule!(w1, w2, w3, w0);
                rounds!(w1, from + 4);
                schedule!(w2, w3, w0, w1);
                rounds!(w2, from + 8);
                schedule!(w3, w0, w1, w2);
                rounds!(w3, from + 12);
            }
            for lane in 0..LANES {
                abef[lane] = _mm_add_epi32(abef[lane], before.0[lane]);
                cdgh[lane] = _mm_add_epi32(cdgh[lane], before.1[lane]);
            }
        }
        for lane in 0..LANES {
            let (feba, dchg) = (_mm_shuffle_epi32(abef[lane], 0x1b), _mm_shuffle_epi32(cdgh[lane], 0xb1));
            store(&mut states[lane], 0, _mm_blend_epi16(feba, dchg, 0xf0));
            store(&mut states[lane], 4, _mm_alignr_epi8(dchg, feba, 8));
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(words: &[u32], from: usize) -> __m128i {
        let four = &words[from..from + 4];
        // SAFETY: four words are 16 bytes; unaligned loads are allowed.
        unsafe { _mm_loadu_si128(four.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn store(words: &mut [u32], from: usize, value: __m128i) {
        let four = &mut words[from..from + 4];
        // SAFETY: as for `load`.
        unsafe { _mm_storeu_si128(four.as_mut_ptr().cast(), value) }
    }
}

#[cfg(test)]
mod tests {
    use crate::digest::sha256;

    #[test]
    fn contents_side_by_side_have_the_hashes_that_they_have_alone() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let lens = (0..200).chain([1000, 4096, 3, 5000, 0, 4999, 64, 63]);
        let contents: Vec<&[u8]> = lens.map(|len| &bytes[bytes.len() - len..]).collect();
        for part in [&contents[..], &contents[..1], &contents[100..102], &contents[200..], &[]] {
            let Some(hashes) = super::each(part) else { return };
            let alone: Vec<_> = part.iter().map(|content| sha256(content)).collect();
            assert!(hashes == alone);
        }
    }
}
