//! `exporter init`: the first command on a node. It makes the age identity, the cluster key and this node's key where there are none, writes a commented node file that
//! names their public halves, and certifies this node. What is there stays, so that it can be run again after it was interrupted.

use super::certify::{accept, certify, cluster_key_beside};
use crate::{certified, node, protected};
use archive::record::valid_name;
use archive::sign::{PublicKey, Signer};
use clap::Args;
use console::exit::{Failure, Status};
use console::node_file::NodeFile;
use console::output::Output;
use console::passphrase::{self, Passphrase};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Init {
    /// The cluster's name, in a new node file
    #[arg(long, value_name = "NAME", default_value = "home")]
    cluster: String,
    /// This node's name, in a new node file; else the host's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where it keeps its keys, its spool and what it knows, in a new node file
    #[arg(long, value_name = "DIR", default_value = "/var/lib/resilient")]
    state: PathBuf,
    /// The name of the first dataset
    #[arg(long, value_name = "NAME", default_value = "data")]
    dataset: String,
    /// A folder that is to be captured; may be given several times
    #[arg(long, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// An SQLite database that is to be captured
    #[arg(long, value_name = "PATH")]
    sqlite: Option<PathBuf>,
    /// Where the identity is to be, which opens snapshots; else identity.age beside the node file
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Where the cluster key is to be, which certifies nodes; else cluster-key.age beside the node file
    #[arg(long, value_name = "FILE")]
    cluster_key: Option<PathBuf>,
    /// The passphrase of both stands in the first line of this file; /dev/fd/N works as well
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Another passphrase for the cluster key, from this file
    #[arg(long, value_name = "FILE", requires = "passphrase_file")]
    cluster_key_passphrase_file: Option<PathBuf>,
}

/// What is made, and where.
struct Keys {
    recipient: String,
    cluster_key: Signer,
}

impl Init {
    pub fn run(self, config: &Path) -> Result<Status, Failure> {
        let mut output = Output::stdout();
        if config.exists() {
            self.again(config, &mut output)?;
            output.finish()?;
            return Ok(Status::Done);
        }
        let name = self.name.clone().unwrap_or_else(host);
        for name in [&name, &self.cluster, &self.dataset] {
            if !valid_name(name) {
                return Err(Failure::usage(format!("{name:?} is no name"))
                    .hint("use letters, digits, '-', '_' and '.', at most 64, not beginning with '-' or '.'"));
            }
        }
        let text = |keys: &Keys| self.text(&name, keys);
        let identity = self.identity.clone().unwrap_or_else(|| config.with_file_name("identity.age"));
        let cluster_key = self.cluster_key.clone().unwrap_or_else(|| cluster_key_beside(config));
        let keys = self.keys(&identity, &cluster_key, &mut output)?;
        let text = text(&keys)?;
        // What cannot be read again is not written.
        NodeFile::parse(&text, config)?;
        protected::create(config, text.as_bytes(), 0o644)?;
        output.line(format_args!("wrote {}: look through it", config.display()))?;
        let file = NodeFile::open(config)?;
        let own = node::signer(&file.node.state)?.public();
        accept(&file, &certify(&keys.cluster_key, &file.cluster, &file.node.name, own))?;
        output.line("")?;
        output.line(format_args!("snapshots are opened by   {}", keys.recipient))?;
        output.line(format_args!("nodes are certified by    {}", keys.cluster_key.public()))?;
        output.line(format_args!("this node signs with      {own} (certified as {name})"))?;
        output.line("")?;
        output.line(format_args!(
            "store this elsewhere: {} and {}, and the passphrase. Without the identity nothing can be restored; without the cluster key no other node can be certified",
            identity.display(),
            cluster_key.display()
        ))?;
        if self.files.is_empty() && self.sqlite.is_none() {
            output.line(format_args!("next: say in {} what is to be captured, then: exporter run", config.display()))?;
        } else {
            output.line("next: exporter run")?;
        }
        output.finish()?;
        Ok(Status::Done)
    }

    /// Makes what is not there, and reads what is.
    fn keys(&self, identity: &Path, cluster_key: &Path, output: &mut Output) -> Result<Keys, Failure> {
        let file = self.passphrase_file.as_deref();
        let key_file = self.cluster_key_passphrase_file.as_deref().or(file);
        let mut chosen: Option<Passphrase> = None;
        let recipient = match identity.exists() {
            true => {
                let public = protected::identity(identity, file)?;
                output.line(format_args!("{} is there: it stays", identity.display()))?;
                public
            }
            false => {
                let passphrase = passphrase::choose("New passphrase, for the identity and the cluster key", file)?;
                let public = protected::make_identity(identity, &passphrase)?;
                chosen = Some(passphrase);
                output.line(format_args!("wrote {}: it opens snapshots, with its passphrase", identity.display()))?;
                public
            }
        };
        let cluster_key = match cluster_key.exists() {
            true => {
                let signer = protected::cluster_key(cluster_key, key_file)?;
                output.line(format_args!("{} is there: it stays", cluster_key.display()))?;
                signer
            }
            false => {
                let passphrase = match (chosen, self.cluster_key_passphrase_file.as_deref()) {
                    (Some(passphrase), None) => passphrase,
                    _ => passphrase::choose("New passphrase, for the cluster key", key_file)?,
                };
                let signer = protected::make_cluster_key(cluster_key, &passphrase)?;
                output.line(format_args!("wrote {}: it certifies nodes, with its passphrase", cluster_key.display()))?;
                signer
            }
        };
        Ok(Keys { recipient, cluster_key })
    }

    /// There is a node file: says what there is, and makes this node's key when it has none.
    fn again(&self, config: &Path, output: &mut Output) -> Result<(), Failure> {
        let file = NodeFile::open(config)?;
        output.line(format_args!("{} is there: it stays", config.display()))?;
        let own = node::signer(&file.node.state)?.public();
        output.line(format_args!("{} of cluster {} signs with {own}", file.node.name, file.cluster))?;
        match (file.seal.cluster_key.map(PublicKey), certified::own(&file)?) {
            (None, _) => output.line("the node file has no cluster_key: signers are not verified")?,
            (Some(key), Some(_)) => output.line(format_args!("it is certified by the cluster key {key}"))?,
            (Some(_), None) => {
                let node = &file.node.name;
                output.line(format_args!("next, where the cluster key is: exporter certify {own} --node {node}"))?;
                return Ok(output.line("then, here: exporter certificate 'LINE', with the line that it prints")?);
            }
        }
        Ok(output.line("next: exporter run")?)
    }

    fn text(&self, name: &str, keys: &Keys) -> Result<String, Failure> {
        let mut sources = String::new();
        let mut paths: Vec<String> = Vec::new();
        for path in &self.files {
            paths.push(quoted(path)?);
        }
        if paths.is_empty() && self.sqlite.is_none() {
            paths.push("\"/srv/data\"".into());
        }
        if !paths.is_empty() {
            let list = paths.join(", ");
            sources.push_str(&format!("\n  [[dataset.source]]\n  recipe = \"files\"\n  paths = [{list}]\n  # exclude = [\"*.tmp\"]\n"));
        }
        if let Some(path) = &self.sqlite {
            sources.push_str(&format!("\n  [[dataset.source]]\n  recipe = \"sqlite\"\n  path = {}\n", quoted(path)?));
        }
        let Init { cluster, state, dataset, .. } = self;
        let (recipient, cluster_key, state) = (&keys.recipient, keys.cluster_key.public(), quoted(state)?);
        Ok(format!(
            r#"# A node: what it captures, and who can open it. The same on every host of a cluster, but for [node].

cluster = "{cluster}"

[node]                              # the only part that differs from host to host
name = "{name}"
state = {state}
# identity = "/etc/resilient/identity.age"     # on hosts that import or restore by themselves
# listen = "192.0.2.1"                         # where the daemons listen; everywhere when nothing is said

[seal]
recipients = ["{recipient}"]        # who can open snapshots
cluster_key = "{cluster_key}"       # who certifies the nodes that may sign

[[dataset]]                         # what is captured and restored together; as many as you like
name = "{dataset}"
every = "60m"                       # or "5s", or a cron expression: at = "0 3 * * *"
{sources}"#
        ))
    }
}

/// A path as TOML has text; it must be absolute to mean the same to a daemon.
fn quoted(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let text = absolute.to_str().ok_or_else(|| Failure::usage(format!("{} is no text", path.display())))?;
    Ok(format!("{text:?}"))
}

/// The host's name, as far as it can be a node's.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fits = |c: &char| c.is_ascii_alphanumeric() || "-_".contains(*c);
    let short: String = name.split('.').next().unwrap_or_default().chars().filter(fits).take(64).collect();
    let short = short.trim_start_matches(['-', '_']).to_owned();
    if short.is_empty() { "node1".into() } else { short }
}
