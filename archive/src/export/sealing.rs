//! The sealing identity of the month. Made when the month begins or the recipients change; only its public half stays.

use super::ExportOptions;
use crate::digest::sha256_of;
use crate::error::{Error, Result};
use crate::id::Hash;
use crate::identity::{Maker, SealingKey, make_sealing_identity};
use crate::local::state::Local;
use crate::name;
use crate::record::{SealingIdentity, Signed};
use crate::repository::Repository;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Current {
    public: String,
    month: String,
    recipients: Vec<String>,
}

/// Tells for whom a base was sealed: a change starts a new one.
pub fn fingerprint(recipients: Option<&[String]>) -> Hash {
    match recipients {
        None => sha256_of(&[b"unsealed"]),
        Some(recipients) => {
            let mut sorted: Vec<&str> = recipients.iter().map(String::as_str).collect();
            sorted.sort_unstable();
            sha256_of(&[b"sealed\n", sorted.join("\n").as_bytes()])
        }
    }
}

fn month(now_ms: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m").to_string()
}

/// The sealing key to wrap run keys with, and its record; none when the dataset is unsealed.
pub fn current(
    repository: &Repository,
    local: &Local,
    options: &ExportOptions,
    now_ms: u64,
) -> Result<Option<(SealingKey, Signed<SealingIdentity>)>> {
    let Some(recipients) = &options.recipients else { return Ok(None) };
    let this_month = month(now_ms);
    let kept: Option<Current> = std::fs::read(local.path("sealing")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(kept) = kept
        && kept.month == this_month
        && kept.recipients == *recipients
        && let Some(record) = published(repository, &kept.public)
    {
        return Ok(Some((SealingKey::parse(&kept.public)?, record)));
    }
    let config = repository.config();
    let maker = Maker { cluster: config.cluster.clone(), dataset: config.dataset.clone(), node: options.node.clone() };
    let identity = make_sealing_identity(&maker, recipients, now_ms)?;
    let public = identity.public.clone();
    let record = Signed::sign(identity, &options.signer);
    repository.publish_record(&name::key(record.body.id, 1), &record)?;
    let kept = Current { public: public.clone(), month: this_month, recipients: recipients.clone() };
    let bytes = serde_json::to_vec(&kept).map_err(|why| Error::refused("the sealing identity", why))?;
    local.replace("sealing", &bytes)?;
    Ok(Some((SealingKey::parse(&public)?, record)))
}

fn published(repository: &Repository, public: &str) -> Option<Signed<SealingIdentity>> {
    let id = SealingIdentity::id_of(public);
    let record: Signed<SealingIdentity> = repository.first_record(&name::key(id, 1)).ok()?;
    (record.body.public == public).then_some(record)
}
