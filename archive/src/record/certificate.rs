//! A node certificate: the cluster key says that a signing key belongs to a node. People carry it from host to host as a line of text.

use super::{Body, RecordKind, SIGNATURE, Signed, take_name};
use crate::encode::{Put, Take, Taken};
use crate::id::{hex, unhex};
use crate::sign::PublicKey;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub cluster: String,
    pub node: String,
    pub key: PublicKey,
    pub issued_ms: u64,
}

impl Body for Certificate {
    const KIND: RecordKind = RecordKind::Certificate;

    fn put(&self, out: &mut Vec<u8>) {
        out.bytes(self.cluster.as_bytes());
        out.bytes(self.node.as_bytes());
        out.raw(&self.key.0);
        out.varint(self.issued_ms);
    }

    fn take(take: &mut Take<'_>) -> Taken<Self> {
        Ok(Certificate {
            cluster: take_name(take)?,
            node: take_name(take)?,
            key: PublicKey(take.array()?),
            issued_ms: take.varint()?,
        })
    }
}

const BEGINNING: &str = "certificate1:";
/// Names are short, so a certificate is.
const LINE_MAX: usize = 2 * (512 + SIGNATURE);

impl Signed<Certificate> {
    pub fn line(&self) -> String {
        format!("{BEGINNING}{}", hex(&self.item))
    }

    /// Reads a line. Its signature is checked; whose it is, is for the caller to see.
    pub fn from_line(line: &str) -> Result<Self, &'static str> {
        let digits = line.trim().strip_prefix(BEGINNING).ok_or("it does not begin with certificate1:")?;
        let byte = |pair: &[u8]| unhex::<1>(std::str::from_utf8(pair).ok()?).map(|byte| byte[0]);
        let item: Option<Vec<u8>> = digits.as_bytes().chunks(2).take(LINE_MAX).map(byte).collect();
        Signed::parse(&item.ok_or("it is not whole")?).map_err(|_| "it is not whole, or was changed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::Signer;

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let key = Signer::from_seed(&[2; 32]).public();
        let body = Certificate { cluster: "shop".into(), node: "web1".into(), key, issued_ms: 7 };
        let line = Signed::sign(body.clone(), &Signer::from_seed(&[1; 32])).line();
        assert_eq!(Signed::<Certificate>::from_line(&format!(" {line}\n")).unwrap().body, body);
        for end in 0..line.len() {
            assert!(Signed::<Certificate>::from_line(&line[..end]).is_err(), "{end}");
        }
        assert!(Signed::<Certificate>::from_line(&line.replacen("776562", "776561", 1)).is_err(), "another name");
        assert!(Signed::<Certificate>::from_line("certificate1:zz\u{e9}").is_err());
    }
}
