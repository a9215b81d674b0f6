//! `reseal`: lets new recipients open what is here. Run on a host that has an identity; a pull-backup has none.
//!
//! It adds a generation to each sealing identity and takes none away: rotation is not revocation, and it says so.

use archive::identity::Recipient;
use archive::repository::Access;
use archive::reseal::{ResealOptions, ResealReport, reseal};
use archive::sign::Signer;
use clap::Args;
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use lookup::cmd::document;
use lookup::failure::failure;
use lookup::open::{Identity, Surroundings};
use lookup::place::Place;
use serde::Serialize;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Lets new recipients open what is in a repository
#[derive(Args, Debug)]
#[command(after_help = "Who could open it before still can: reseal is not revocation.")]
pub struct Reseal {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub identity: Identity,
    /// Who can open it from now on, as age1...; may be given several times
    #[arg(long, value_name = "KEY", required = true)]
    pub recipient: Vec<String>,
    /// The name of the node that signs
    #[arg(long, value_name = "NAME")]
    pub node: String,
    /// The node's signing key: a file with its seed in 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub signing_key: PathBuf,
    /// One JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Shape {
    resealed: Vec<Resealed>,
    unchanged: Vec<String>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Resealed {
    identity: String,
    generation: u64,
}

#[derive(Serialize)]
struct Failed {
    identity: String,
    why: String,
}

impl Reseal {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        for recipient in &self.recipient {
            let hint = "a recipient is the public half of an age identity, age1...; `age-keygen -y FILE` prints it";
            Recipient::parse(recipient).map_err(|error| Failure::usage(error).hint(hint))?;
        }
        if !archive::record::valid_name(&self.node) {
            return Err(Failure::usage(format!("{} is not the name of a node", console::human::text(self.node.as_bytes()))));
        }
        let repository = self.place.open(Access::Shared)?;
        let signer = signing_key(&self.signing_key)?;
        let mut keyring = self.identity.keyring()?;
        if keyring.is_empty() {
            return Err(Failure::usage("resealing needs an identity, and none was given")
                .hint("give the identity of one of the present recipients with --identity FILE, or its path in RESILIENT_IDENTITY"));
        }
        let options = ResealOptions { recipients: &self.recipient, node: &self.node, signer: &signer, now_ms: surroundings.now_ms() };
        let report = reseal(&repository, &mut keyring, &options).map_err(failure)?;
        self.say(&report)?;
        if report.resealed.is_empty() && report.unchanged.is_empty() && !report.failed.is_empty() {
            let what = format!("nothing in {} was resealed", self.place.shown());
            return Err(Failure::failed(what).hint("give the identity of one of the present recipients with --identity FILE"));
        }
        Ok(if report.failed.is_empty() { Status::Done } else { Status::Partial })
    }

    fn say(&self, report: &ResealReport) -> Result<(), Failure> {
        if self.json {
            let resealed = report
                .resealed
                .iter()
                .map(|(id, generation)| Resealed { identity: id.to_string(), generation: *generation });
            let failed = report.failed.iter().map(|(id, why)| Failed { identity: id.to_string(), why: why.clone() });
            let unchanged = report.unchanged.iter().map(ToString::to_string).collect();
            return document(&Shape { resealed: resealed.collect(), unchanged, failed: failed.collect() });
        }
        for (id, why) in &report.failed {
            tell(format_args!("not resealed: {id}: {why}"));
        }
        let (done, same, failed) = (report.resealed.len(), report.unchanged.len(), report.failed.len());
        let mut output = Output::stdout();
        output.line(format_args!("{done} sealing identities resealed, {same} had these recipients already, {failed} NOT resealed"))?;
        if done > 0 {
            tell("who could open them before still can: reseal is not revocation");
        }
        Ok(output.finish()?)
    }
}

/// Reads a seed. Nothing of it gets into a message.
fn signing_key(path: &Path) -> Result<Signer, Failure> {
    let shown = console::human::text(path.as_os_str().as_encoded_bytes());
    let wrong = |why: &str| Failure::usage(format!("the signing key {shown}: {why}"));
    let about = fs::metadata(path).map_err(|error| wrong(&error.to_string()))?;
    if about.permissions().mode() & 0o007 != 0 {
        return Err(wrong("everybody on this host can read the file").hint(format!("chmod 600 {shown}")));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    let seed = archive::id::unhex(text.trim()).ok_or_else(|| wrong("it is not a seed of 64 hexadecimal digits"))?;
    Ok(Signer::from_seed(&seed))
}
