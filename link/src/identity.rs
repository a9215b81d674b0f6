//! Who a host is on the wire: a key pair made on it, which never leaves it, and a certificate that does no more than carry the public half.
//!
//! Hosts know each other by pins: the SHA-256 of the public key. A certificate's names, dates and issuer mean nothing.

use crate::error::{Error, Result};
use archive::digest::sha256;
use archive::id::{hex, unhex};
use archive::sign::Signer;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::ParsedCertificate;

/// The SHA-256 of a host's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(pub [u8; 32]);

impl Pin {
    pub fn parse(text: &str) -> Option<Pin> {
        unhex(text).map(Pin)
    }

    /// That of the key in a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Pin> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        Some(Pin(sha256(&parsed.subject_public_key_info()).0))
    }

    /// Whether who has this key signed a message: a proof is the public key, and the signature.
    pub fn proves(&self, domain: &str, message: &[u8], proof: &str) -> bool {
        let Some(proof) = unhex::<PROOF>(proof) else { return false };
        let (public, signature) = proof.split_at(PUBLIC);
        let is_ours = sha256(&[KEY_INFO, public].concat()).0 == self.0;
        is_ours
            && UnparsedPublicKey::new(&ED25519, public)
                .verify(&[domain.as_bytes(), message].concat(), signature)
                .is_ok()
    }
}

/// Lengths of a public key, and of one with a signature.
const PUBLIC: usize = 32;
const PROOF: usize = PUBLIC + 64;
/// What stands before an Ed25519 key in a certificate's key information (RFC 8410).
const KEY_INFO: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({}…)", hex(&self.0[..4]))
    }
}

impl TryFrom<String> for Pin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Pin, Self::Error> {
        Pin::parse(&text).ok_or("a pin is 64 hexadecimal digits")
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> String {
        pin.to_string()
    }
}

/// A host's key pair and the certificate that carries it.
pub struct Identity {
    key: PrivatePkcs8KeyDer<'static>,
    certificate: CertificateDer<'static>,
    signing: Ed25519KeyPair,
    pub pin: Pin,
}

/// The file in a state folder.
const FILE: &str = "tls.key";

impl Identity {
    /// The one that a state folder keeps; made when there is none. Of several processes that make it at once, one wins.
    pub fn open_or_make(state: &Path) -> Result<Identity> {
        let path = state.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let damaged = |why: &str| Error::Damaged { path: path.clone(), why: why.into() };
                let bytes = from_hex(text.trim()).ok_or_else(|| damaged("it is no key in hexadecimal digits"))?;
                Identity::of(bytes).map_err(|_| damaged("it is no key"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = KeyPair::generate_for(&PKCS_ED25519).map_err(key)?;
                keep(state, &path, &made.serialize_der()).map_err(Error::file("make", &path))?;
                Identity::open_or_make(state)
            }
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// One that no file keeps.
    pub fn passing() -> Result<Identity> {
        Identity::of(KeyPair::generate_for(&PKCS_ED25519).map_err(key)?.serialize_der())
    }

    fn of(pkcs8: Vec<u8>) -> Result<Identity> {
        let pair = KeyPair::try_from(pkcs8.as_slice()).map_err(key)?;
        let mut params = CertificateParams::new(vec!["resilient".to_owned()]).map_err(key)?;
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(4096, 1, 1);
        let certificate = params.self_signed(&pair).map_err(key)?.der().clone();
        let pin = Pin::of(&certificate).ok_or_else(|| Error::Key { why: "its certificate cannot be read".into() })?;
        let signing = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| Error::Key { why: error.to_string() })?;
        Ok(Identity { key: PrivatePkcs8KeyDer::from(pkcs8), certificate, signing, pin })
    }

    /// A proof for `Pin::proves`. A signature covers a domain, so that it is never one of something else.
    pub fn sign(&self, domain: &str, message: &[u8]) -> String {
        let signature = self.signing.sign(&[domain.as_bytes(), message].concat());
        hex(&[self.signing.public_key().as_ref(), signature.as_ref()].concat())
    }

    pub(crate) fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.clone()], PrivateKeyDer::from(self.key.clone_key()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.pin)
    }
}

fn key(error: rcgen::Error) -> Error {
    Error::Key { why: error.to_string() }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| unhex::<1>(std::str::from_utf8(pair).ok()?).map(|byte| byte[0])).collect()
}

/// The key that a host signs with, kept as 64 digits in a file of its state folder; made when there is none.
pub fn signing_key(state: &Path, name: &str) -> Result<Signer> {
    let path = state.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => unhex(text.trim())
            .map(|seed| Signer::from_seed(&seed))
            .ok_or_else(|| Error::Damaged { path: path.clone(), why: "it is no signing key; put back the one from before".into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            keep(state, &path, &Signer::new_seed()).map_err(Error::file("make", &path))?;
            signing_key(state, name)
        }
        Err(error) => Err(Error::file("read", &path)(error)),
    }
}

/// Creates the file whole or not at all, and never in place of another.
fn keep(state: &Path, path: &Path, secret: &[u8]) -> io::Result<()> {
    archive::store::make_folder(state, 0o700)?;
    let draft = state.join(format!(".key-{}", hex(&archive::sign::random::<8>())));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", hex(secret))?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::File::open(state)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_stays_the_same_and_a_damaged_one_is_named() {
        let state = tempfile::tempdir().unwrap();
        let first = Identity::open_or_make(state.path()).unwrap().pin;
        assert_eq!(Identity::open_or_make(state.path()).unwrap().pin, first);
        assert_ne!(Identity::passing().unwrap().pin, first);
        std::fs::write(state.path().join(FILE), "00ff").unwrap();
        let error = Identity::open_or_make(state.path()).unwrap_err().to_string();
        assert!(error.ends_with("tls.key is damaged: it is no key"), "{error}");
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1, "no draft stays");
    }
}
