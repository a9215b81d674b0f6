//! Ed25519: nodes sign what they publish, receivers sign receipts, the cluster key signs node certificates.
//!
//! A signature covers a domain string, so that a record of one kind can never be shown as one of another.

use crate::id::{hex, unhex};
use aws_lc_rs::rand::fill;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use std::fmt;

/// A public key. Written `ed25519:` and 64 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text.strip_prefix("ed25519:").unwrap_or(text)).map(PublicKey)
    }

    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    pub(crate) fn verifies(&self, domain: &str, message: &[u8], signature: &[u8]) -> bool {
        let signed = [domain.as_bytes(), message].concat();
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&signed, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", self.hex())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}…", hex(&self.0[..4]))
    }
}

/// A signing key. Its seed is 32 bytes that never leave the host.
pub struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        let public = PublicKey(pair.public_key().as_ref().try_into().expect("a public key has 32 bytes"));
        Signer { pair, public }
    }

    /// A new seed from the system's randomness.
    pub fn new_seed() -> [u8; 32] {
        random()
    }

    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn sign(&self, domain: &str, message: &[u8]) -> [u8; 64] {
        let signed = [domain.as_bytes(), message].concat();
        self.pair.sign(&signed).as_ref().try_into().expect("a signature has 64 bytes")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public)
    }
}

/// Random bytes from the system; without them nothing that is sealed or named would be safe.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
