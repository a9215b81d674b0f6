//! Identities: who can open what is sealed. age wraps; this module says what and for whom.
//!
//! Three steps lead to content: a recipient's identity opens a sealing identity, that opens run keys, those open segments. An exporter holds only the public half
//! of its sealing identity, so it adds to history and cannot read it.

use crate::error::{Error, Result};
use crate::id::{IdentityId, RunId};
use crate::record::{Run, Seal, SealingIdentity, Signed};
use crate::seal::RunKey;
use age::secrecy::{ExposeSecret, SecretString};
use age::x25519;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// The public half of somebody who may open snapshots: `age1…`.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl Recipient {
    pub fn parse(text: &str) -> Result<Self> {
        text.parse().map(Recipient).map_err(|why: &str| Error::refused(format!("recipient {text:?}"), why))
    }
}

fn wrap(recipients: &[&x25519::Recipient], plain: &[u8]) -> Vec<u8> {
    let recipients = recipients.iter().map(|&recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).expect("there is at least one recipient, all of one kind");
    let mut out = Vec::new();
    let mut writer = encryptor.wrap_output(&mut out).expect("a vector can be written");
    std::io::Write::write_all(&mut writer, plain).expect("a vector can be written");
    writer.finish().expect("a vector can be written");
    out
}

/// The most that a wrapped key or identity unwraps to.
const UNWRAPPED_MAX: u64 = 4096;

fn unwrap<'a>(wrapped: &[u8], identities: impl Iterator<Item = &'a dyn age::Identity>) -> Option<Vec<u8>> {
    let reader = age::Decryptor::new_buffered(wrapped).ok()?.decrypt(identities).ok()?;
    let mut plain = Vec::new();
    reader.take(UNWRAPPED_MAX).read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// A sealing identity as the exporter keeps it: its public half only.
#[derive(Clone)]
pub struct SealingKey {
    pub id: IdentityId,
    public: x25519::Recipient,
}

impl SealingKey {
    pub fn parse(public: &str) -> Result<Self> {
        let recipient = Recipient::parse(public)?;
        Ok(SealingKey { id: SealingIdentity::id_of(public), public: recipient.0 })
    }

    /// Wraps a run key, to stand in the run.
    pub fn wrap(&self, key: &RunKey) -> Seal {
        Seal { identity: self.id, wrapped_key: wrap(&[&self.public], &key.0) }
    }
}

/// For which node and dataset a sealing identity is made.
#[derive(Clone, Debug)]
pub struct Maker {
    pub cluster: String,
    pub dataset: String,
    pub node: String,
}

/// Makes a sealing identity, wraps its private half for the recipients, and forgets it.
pub fn make_sealing_identity(maker: &Maker, recipients: &[String], now_ms: u64) -> Result<SealingIdentity> {
    let private = x25519::Identity::generate();
    wrap_sealing_identity(maker, &private, 1, recipients, now_ms)
}

fn wrap_sealing_identity(
    maker: &Maker,
    private: &x25519::Identity,
    generation: u64,
    recipients: &[String],
    now_ms: u64,
) -> Result<SealingIdentity> {
    if recipients.is_empty() {
        return Err(Error::refused("an empty list of recipients", "nobody could ever open what is sealed for it"));
    }
    let parsed = recipients.iter().map(|text| Recipient::parse(text)).collect::<Result<Vec<_>>>()?;
    let public = private.to_public().to_string();
    let line = format!("{}\n", private.to_string().expose_secret());
    Ok(SealingIdentity {
        cluster: maker.cluster.clone(),
        dataset: maker.dataset.clone(),
        node: maker.node.clone(),
        id: SealingIdentity::id_of(&public),
        generation,
        public,
        created_ms: now_ms,
        recipients: recipients.to_vec(),
        wrapped: wrap(&parsed.iter().map(|recipient| &recipient.0).collect::<Vec<_>>(), line.as_bytes()),
    })
}

/// Makes a pair for a person: the text of the identity, to be kept secret, and the recipient.
pub fn generate() -> (String, String) {
    let private = x25519::Identity::generate();
    (private.to_string().expose_secret().to_string(), private.to_public().to_string())
}

/// Protects text by a passphrase, as `age -p` does.
pub fn protect(text: &str, passphrase: &str) -> Vec<u8> {
    let encryptor = age::Encryptor::with_user_passphrase(SecretString::from(passphrase.to_string()));
    let mut out = Vec::new();
    let mut writer = encryptor.wrap_output(&mut out).expect("a vector can be written");
    std::io::Write::write_all(&mut writer, text.as_bytes()).expect("a vector can be written");
    writer.finish().expect("a vector can be written");
    out
}

/// The text of a file that a passphrase protects: an identity, or the cluster key.
pub fn read_protected(path: &Path, ask: AskPassphrase<'_>) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    open_protected(path, &bytes, ask)
}

fn open_protected(path: &Path, bytes: &[u8], ask: AskPassphrase<'_>) -> Result<String> {
    let bad = |why: &str| Error::Identity { path: path.into(), why: why.into() };
    let armored = age::armor::ArmoredReader::new(bytes);
    let decryptor = age::Decryptor::new_buffered(std::io::BufReader::new(armored))
        .map_err(|error| bad(error.to_string().lines().next().unwrap_or("it is not an age file")))?;
    if !decryptor.is_scrypt() {
        return Err(bad("it is encrypted, but not by a passphrase"));
    }
    let identity = age::scrypt::Identity::new(SecretString::from(ask(path)?));
    let opened = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity));
    let reader = opened.map_err(|_| bad("the passphrase does not open it"))?;
    let mut text = String::new();
    let read = reader.take(UNWRAPPED_MAX * 16).read_to_string(&mut text);
    read.map(|_| text).map_err(|_| bad("the passphrase does not open it"))
}

/// What opens: the recipient's identities, and what they have opened so far.
#[derive(Default)]
pub struct Keyring {
    identities: Vec<x25519::Identity>,
    sealing: HashMap<IdentityId, x25519::Identity>,
    runs: HashMap<RunId, RunKey>,
}

/// Asks for the passphrase of an identity file.
pub type AskPassphrase<'a> = &'a mut dyn FnMut(&Path) -> Result<String>;

impl Keyring {
    /// Reads an identity file as age writes it: plain, or protected by a passphrase, armored or not.
    pub fn from_file(path: &Path, ask: AskPassphrase<'_>) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::file("read identity", path))?;
        let bad = |why: &str| Error::Identity { path: path.into(), why: why.into() };
        let is_age = bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----");
        let text = if is_age {
            open_protected(path, &bytes, ask)?
        } else {
            String::from_utf8(bytes).map_err(|_| bad("it is not an identity file of age"))?
        };
        Self::parse(&text).map_err(|why| bad(&why))
    }

    /// Reads what an identity file holds when it is open.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities = lines
            .map(|line| line.parse::<x25519::Identity>().map_err(|why| format!("it has a line that is no identity ({why})")))
            .collect::<Result<Vec<_>, _>>()?;
        if identities.is_empty() {
            return Err("it holds no identity".into());
        }
        Ok(Keyring { identities, ..Keyring::default() })
    }

    /// The identities themselves, as `parse` takes them; for another process of the same node, and nobody else.
    pub fn expose(&self) -> String {
        let lines = self.identities.iter().map(|identity| format!("{}\n", identity.to_string().expose_secret()));
        lines.collect()
    }

    /// Who can seal for these identities: `age1…`.
    pub fn recipients(&self) -> Vec<String> {
        self.identities.iter().map(|identity| identity.to_public().to_string()).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// Tries to open a sealing identity. A private half that is not that of the record is refused: somebody swapped it.
    pub fn open_sealing_identity(&mut self, record: &SealingIdentity) -> Result<bool> {
        if self.sealing.contains_key(&record.id) {
            return Ok(true);
        }
        let identities = self.identities.iter().map(|identity| identity as &dyn age::Identity);
        let Some(plain) = unwrap(&record.wrapped, identities) else {
            return Ok(false);
        };
        let name = format!("sealing identity {}", record.id);
        let text = String::from_utf8(plain).map_err(|_| Error::damaged(&name, "it does not hold an identity"))?;
        let private: x25519::Identity = text.trim().parse().map_err(|_| Error::damaged(&name, "it does not hold an identity"))?;
        if private.to_public().to_string() != record.public {
            return Err(Error::refused(name, "its private half belongs to another identity"));
        }
        self.sealing.insert(record.id, private);
        Ok(true)
    }

    pub fn has(&self, id: IdentityId) -> bool {
        self.sealing.contains_key(&id)
    }

    /// The key of a run. `None` when its sealing identity was not opened.
    pub fn run_key(&mut self, run: &Signed<Run>) -> Result<Option<RunKey>> {
        let Some(seal) = &run.body.seal else { return Ok(None) };
        if let Some(key) = self.runs.get(&run.body.id) {
            return Ok(Some(key.clone()));
        }
        let Some(private) = self.sealing.get(&seal.identity) else { return Ok(None) };
        let plain = unwrap(&seal.wrapped_key, std::iter::once(private as &dyn age::Identity));
        let key = plain.and_then(|plain| plain.try_into().ok()).map(RunKey);
        let key = key.ok_or_else(|| Error::damaged(format!("run {}", run.body.id), "its key does not open with its sealing identity"))?;
        self.runs.insert(run.body.id, key.clone());
        Ok(Some(key))
    }

    /// The next generation of a sealing identity that was opened, for new recipients.
    pub fn reseal(&self, maker: &Maker, id: IdentityId, generation: u64, recipients: &[String], now_ms: u64) -> Result<SealingIdentity> {
        let name = format!("sealing identity {id}");
        let private = self.sealing.get(&id).ok_or(Error::Sealed { name })?;
        wrap_sealing_identity(maker, private, generation, recipients, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker() -> Maker {
        Maker { cluster: "c".into(), dataset: "d".into(), node: "n".into() }
    }

    #[test]
    fn three_steps_lead_to_a_run_key() {
        let (private, public) = generate();
        let record = make_sealing_identity(&maker(), &[public], 1).unwrap();
        let key = RunKey([9; 32]);
        let seal = SealingKey::parse(&record.public).unwrap().wrap(&key);
        let signer = crate::sign::Signer::from_seed(&[1; 32]);
        let run = Run {
            cluster: "c".into(),
            dataset: "d".into(),
            node: "n".into(),
            id: RunId([1; 16]),
            nonce: [0; 32],
            export: crate::id::ExportId::NONE,
            started_ms: 0,
            closed_ms: 0,
            seal: Some(seal),
            segments: vec![],
        };
        let run = Signed::sign(run, &signer);
        let mut keyring = Keyring::parse(&private).unwrap();
        assert!(keyring.run_key(&run).unwrap().is_none());
        assert!(keyring.open_sealing_identity(&record).unwrap());
        assert_eq!(keyring.run_key(&run).unwrap().unwrap().0, key.0);
        let mut stranger = Keyring::parse(&generate().0).unwrap();
        assert!(!stranger.open_sealing_identity(&record).unwrap());
    }

    #[test]
    fn a_file_with_a_passphrase_opens_with_it_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.age");
        std::fs::write(&path, protect(&format!("# comment\n{}\n", generate().0), "correct horse")).unwrap();
        assert!(Keyring::from_file(&path, &mut |_| Ok("correct horse".into())).is_ok());
        assert!(matches!(Keyring::from_file(&path, &mut |_| Ok("wrong".into())), Err(Error::Identity { .. })));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(Keyring::from_file(&path, &mut |_| unreachable!()), Err(Error::Identity { .. })));
    }
}
