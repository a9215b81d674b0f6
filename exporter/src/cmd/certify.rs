//! `exporter certify`: the cluster key says that a signing key belongs to a node. Run wherever the cluster key is; what it prints is no secret.
//! `exporter certificate`: the node takes it.

use crate::certified;
use crate::cmd::{link_failure, run::now_ms};
use crate::protected;
use archive::record::{Certificate as Body, Signed, valid_name};
use archive::sign::{PublicKey, Signer};
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::{Output, tell};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Certify {
    /// The node's key, ed25519:..., as `join` printed it there; without it, this node's own
    #[arg(value_parser = key)]
    key: Option<PublicKey>,
    /// The name of the node whose key it is
    #[arg(long, value_name = "NAME", requires = "key")]
    node: Option<String>,
    /// The cluster, where there is no node file
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The file of the cluster key; else cluster-key.age beside the node file
    #[arg(long, value_name = "FILE")]
    cluster_key: Option<PathBuf>,
    /// The cluster key's passphrase stands in the first line of this file; /dev/fd/N works as well
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Certificate {
    /// The line that `exporter certify` printed
    line: String,
}

fn key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).ok_or_else(|| "a key is written as ed25519: and 64 hexadecimal digits".into())
}

/// Where the cluster key is, unless it is said.
pub fn cluster_key_beside(config: &Path) -> PathBuf {
    config.with_file_name("cluster-key.age")
}

pub fn certify(signer: &Signer, cluster: &str, node: &str, key: PublicKey) -> Signed<Body> {
    Signed::sign(Body { cluster: cluster.into(), node: node.into(), key, issued_ms: now_ms() }, signer)
}

impl Certify {
    pub fn run(self, config: &Path) -> Result<Status, Failure> {
        let file = match config.exists() {
            true => Some(NodeFile::open(config)?),
            false => None,
        };
        let own = match (&file, self.key) {
            (Some(file), _) => Some((file, certified::subject(file)?.key)),
            (None, None) => return Err(Failure::usage("whose key?").hint("exporter certify KEY --node NAME --cluster NAME")),
            (None, Some(_)) => None,
        };
        let key = self.key.or(own.map(|(_, key)| key)).expect("one of them was looked for above");
        let is_own = own.is_some_and(|(_, own)| own == key);
        let node = match (&self.node, own) {
            (Some(node), _) => node.clone(),
            (None, Some((file, own))) if own == key => file.node.name.clone(),
            (None, _) => {
                return Err(Failure::usage("that is not this node's key, so its name is needed").hint("--node NAME, as in its node file"));
            }
        };
        let cluster = self.cluster.clone().or_else(|| file.as_ref().map(|file| file.cluster.clone()));
        let cluster = cluster.ok_or_else(|| Failure::usage("there is no node file here that names the cluster").hint("--cluster NAME"))?;
        for name in [&node, &cluster] {
            if !valid_name(name) {
                return Err(Failure::usage(format!("{name:?} is no name")));
            }
        }
        let place = self.cluster_key.clone().unwrap_or_else(|| cluster_key_beside(config));
        if !place.exists() {
            return Err(Failure::failed(format!("{} is not there", place.display()))
                .hint("run this where the cluster key is, or name its file with --cluster-key FILE"));
        }
        let signer = protected::cluster_key(&place, self.passphrase_file.as_deref())?;
        if let Some(configured) = file.as_ref().and_then(|file| file.seal.cluster_key).map(PublicKey)
            && configured != signer.public()
        {
            return Err(Failure::refused(format!(
                "{} holds {}, and the node file says cluster_key = \"{configured}\"",
                place.display(),
                signer.public()
            ))
            .hint("a cluster has one cluster key; use its file"));
        }
        let certificate = certify(&signer, &cluster, &node, key);
        let mut output = Output::stdout();
        output.line(certificate.line())?;
        output.finish()?;
        match file.filter(|_| is_own) {
            Some(file) => accept(&file, &certificate).map(|_| tell(format_args!("{node} is certified; next: exporter run")))?,
            None => tell(format_args!("next, on {node}: exporter certificate 'LINE', with this line; it is no secret")),
        }
        Ok(Status::Done)
    }
}

/// Keeps a certificate of this node, and publishes it where there are repositories. In how many it is new.
pub fn accept(file: &NodeFile, certificate: &Signed<Body>) -> Result<usize, Failure> {
    link::certificate::keep(&file.node.state, certificate).map_err(link_failure)?;
    certified::publish_everywhere(file)
}

impl Certificate {
    pub fn run(self, config: &Path) -> Result<Status, Failure> {
        let file = NodeFile::open(config)?;
        let certificate = Signed::<Body>::from_line(&self.line).map_err(|why| {
            Failure::usage(format!("this is no certificate: {why}")).hint("copy the whole line that `exporter certify` printed")
        })?;
        if let Some(why) = certified::subject(&file)?.differs(&certificate) {
            return Err(Failure::refused(format!("the certificate is refused: {why}"))
                .hint("`exporter certify KEY --node NAME`, with this node's key and name, where the cluster key is"));
        }
        let places = accept(&file, &certificate)?;
        let mut output = Output::stdout();
        output.line(format_args!("{} is certified by {}", file.node.name, certificate.signer))?;
        if places > 0 {
            output.line(format_args!("its certificate is in {places} repositories now and travels with the next pull"))?;
        }
        if file.seal.cluster_key.is_none() {
            let key = certificate.signer;
            output.line(format_args!("nobody checks it until `cluster_key = \"{key}\"` stands in [seal] of the node file"))?;
        }
        output.line("next: exporter run")?;
        output.finish()?;
        Ok(Status::Done)
    }
}
