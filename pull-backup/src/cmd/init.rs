//! `init`: sets a pull-backup up. It writes a commented configuration where there is none, and makes the two keys of this host. What is there stays.

use clap::Args;
use console::exit::{Failure, Status};
use console::output::Output;
use console::place;
use console::pull_backup_file::PullBackupFile;
use link::identity::{Identity, signing_key};
use lookup::open::Surroundings;
use std::io::Write;
use std::path::PathBuf;

/// Sets this host up as a pull-backup
#[derive(Args, Debug)]
pub struct Init {
    /// Where the configuration is, or is to be, instead of RESILIENT_CONFIG or /etc/resilient/pull-backup.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the history is to be kept, in a new configuration
    #[arg(long, value_name = "DIR", default_value = "/srv/archive")]
    pub store: PathBuf,
    /// Where it keeps its keys and what it knows, in a new configuration
    #[arg(long, value_name = "DIR", default_value = "/var/lib/resilient")]
    pub state: PathBuf,
}

/// The name of the file with the key that receipts are signed with.
pub const RECEIPT_KEY: &str = "receipt.key";

fn text(store: &str, state: &str) -> String {
    format!(
        r#"# A pull-backup: keeps the history of what nodes export. It cannot read it.

# Where it listens, and how others reach it (this stands in invitations).
listen = "0.0.0.0:8025"
# address = "backup.example.org:8025"

# Who may connect at all; the keys count in any case.
# allow = ["192.0.2.0/24"]

state = {state:?}
store = {{ path = {store:?} }}

# How many snapshots of each kind stay. [retain.DATASET] overrides it for one dataset.
[retain]
last = 3
hourly = 48
daily = 14
weekly = 8
monthly = 12
"#
    )
}

impl Init {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let path = place::of(self.config.as_deref(), surroundings.config.as_deref(), place::PULL_BACKUP);
        let mut output = Output::stdout();
        if !path.exists() {
            let shown = path.display();
            let failed = |error: std::io::Error| Failure::failed(format!("cannot write {shown}: {error}"));
            let utf8 = |path: &PathBuf| {
                path.to_str()
                    .map(str::to_owned)
                    .ok_or_else(|| Failure::usage(format!("{} is no text", path.display())))
            };
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(failed)?;
            }
            let mut file = std::fs::File::create_new(&path).map_err(failed)?;
            file.write_all(text(&utf8(&self.store)?, &utf8(&self.state)?).as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            output.line(format_args!("wrote {shown}: look through it"))?;
        }
        let file = PullBackupFile::open(&path)?;
        let identity = Identity::open_or_make(&file.state).map_err(super::failure)?;
        signing_key(&file.state, RECEIPT_KEY).map_err(super::failure)?;
        archive::store::make_folder(&file.store, 0o700)
            .map_err(|error| Failure::failed(format!("cannot make {}: {error}", file.store.display())))?;
        output.line(format_args!("this host's key: {}", identity.pin))?;
        output.line("next: start `pull-backup serve`, then invite a node with `pull-backup invite NAME --cluster CLUSTER`")?;
        output.finish()?;
        Ok(Status::Done)
    }
}
