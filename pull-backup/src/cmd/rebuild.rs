//! `rebuild`: takes from others what is lacking here, history too: after a disk was lost, or part of what was on it.
//!
//! The daemon takes only what is newer than what it has, so that what retention dropped does not come back. This asks for all: those that this pull-backup follows,
//! and its own members, their spools and mirrors. What comes is proven as always. From members only what an active node signed, now or before, is taken.
//! It may run beside the daemon, and again: what is here stays, and what is here is not fetched.

use crate::cmd::init::RECEIPT_KEY;
use crate::following::{self, Following};
use crate::members::{Member, Members};
use crate::publishing::Publish;
use archive::sign::PublicKey;
use archive::sync::{SyncOptions, SyncReport, Wanted, sync};
use clap::Args;
use console::exit::{Failure, Status};
use console::output::{Output, tell};
use console::pull_backup_file::PullBackupFile;
use console::{human, place};
use link::client::{Client, Deadlines, Rate, Way};
use link::identity::{Identity, Pin, signing_key};
use link::message::{Head, Heads};
use link::publishing::Publishing;
use link::pull::{believing, chain, dataset_of, nobody};
use link::remote::Remote;
use link::repositories::{Layout, Repositories};
use lookup::open::Surroundings;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Takes from those it follows and from its members what is lacking here, history too
#[derive(Args, Debug)]
#[command(after_help = "What retention dropped comes back where others still have it, until the next retention.")]
pub struct Rebuild {
    /// CLUSTER/DATASET; all when none is named
    pub dataset: Vec<String>,
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where something may be had.
struct Peer {
    called: String,
    client: Arc<Client>,
    /// The member that it is; none where it is a pull-backup.
    member: Option<Member>,
}

struct Work<'a> {
    file: &'a PullBackupFile,
    members: Members,
    repositories: Repositories,
    options: SyncOptions,
    runtime: Runtime,
}

impl Rebuild {
    pub fn run(&self, surroundings: &Surroundings) -> Result<Status, Failure> {
        let path = place::of(self.config.as_deref(), surroundings.config.as_deref(), place::PULL_BACKUP);
        let file = PullBackupFile::open(&path)?;
        let identity = Identity::open_or_make(&file.state).map_err(super::failure)?;
        let receipt = Arc::new(signing_key(&file.state, RECEIPT_KEY).map_err(super::failure)?);
        let clock: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(super::now_ms);
        let work = Work {
            file: &file,
            members: Members::new(&file.state),
            repositories: Repositories::new(Layout::Archive { store: file.store.clone() }, clock.clone()),
            options: SyncOptions::new(nobody(), receipt, clock),
            runtime: super::runtime()?,
        };
        let peers = work.peers(&identity)?;
        if peers.is_empty() {
            return Err(Failure::failed("there is nobody to take anything from")
                .hint("have another pull-backup that holds it invite this one: `pull-backup invite NAME --follower` there, `pull-backup join LINE` here"));
        }
        let ledger = crate::reigns::Ledger::new(&file.state, &file.store);
        for cluster in ledger.clusters() {
            // Whoever rebuilds lost something: perhaps what was granted as well.
            if ledger.recover(&cluster).map_err(super::failure)? {
                tell(format_args!("cluster {cluster}: its arbiter grants nothing before all members were heard"));
            }
        }
        let mut output = Output::stdout();
        let (mut asked, mut wrong, mut found) = (0, 0, BTreeSet::new());
        for peer in &peers {
            match work.from(peer, &self.dataset, &mut found, &mut output)? {
                Some(incomplete) => (asked, wrong) = (asked + 1, wrong + incomplete),
                // Of a node's two daemons often only one runs.
                None => wrong += u32::from(peer.member.is_none()),
            }
        }
        for missing in self.dataset.iter().filter(|name| asked > 0 && !found.contains(*name)) {
            tell(format_args!("{missing}: nobody who could be asked has it"));
            wrong += 1;
        }
        output.finish()?;
        match (asked, wrong) {
            (0, _) => {
                Err(Failure::failed("nobody could be asked").hint("are their daemons running, and is this host still a member there?"))
            }
            (_, 0) => Ok(Status::Done),
            _ => Ok(Status::Partial),
        }
    }
}

impl Work<'_> {
    fn peers(&self, identity: &Identity) -> Result<Vec<Peer>, Failure> {
        let rate = self.file.rate.map(|rate| Arc::new(Rate::new(rate)));
        let client = |called: &str, address: String, pin: Pin| -> Result<Arc<Client>, Failure> {
            let tls = link::tls::client(identity, pin).map_err(super::failure)?;
            Ok(Arc::new(Client::new(called, Way::Dial { address, tls }, Deadlines::default(), rate.clone())))
        };
        let mut peers = Vec::new();
        for leader in Following::open(&self.file.state).map_err(super::failure)?.leaders {
            let client = client(&leader.address, leader.address.clone(), leader.pin)?;
            peers.push(Peer { called: leader.address, client, member: None });
        }
        let members = self.members.all().map_err(super::failure)?;
        for member in members.into_iter().filter(|member| member.expelled_ms.is_none() && !member.is_follower()) {
            for port in [member.ports.exporter, member.ports.importer].into_iter().flatten() {
                let Some(address) = member.address(port) else { continue };
                let called = format!("{} ({address})", member.name);
                peers.push(Peer { client: client(&called, address, member.pin)?, called, member: Some(member.clone()) });
            }
        }
        Ok(peers)
    }

    /// Takes what one has. How many datasets are not whole; none when it could not be asked.
    fn from(&self, peer: &Peer, chosen: &[String], found: &mut BTreeSet<String>, output: &mut Output) -> Result<Option<u32>, Failure> {
        let heads: Heads = match self.runtime.block_on(peer.client.get("/v1/heads")) {
            Ok(heads) => heads,
            Err(error) => {
                tell(format_args!("{}: {}", peer.called, chain(&error)));
                return Ok(None);
            }
        };
        let mut incomplete = 0;
        for head in &heads.datasets {
            let dataset = dataset_of(head);
            let is_chosen = chosen.is_empty() || chosen.contains(&dataset.to_string());
            let is_its = peer.member.as_ref().is_none_or(|member| member.cluster == head.cluster);
            if !is_chosen || !is_its {
                continue;
            }
            found.insert(dataset.to_string());
            match self.take(peer, head) {
                Ok(report) => {
                    let (count, size) = (report.snapshots.len(), human::bytes(report.bytes));
                    output.line(format_args!("{dataset} from {}: {count} snapshots, {size}", peer.called))?;
                    incomplete += u32::from(!report.is_complete());
                    said(&dataset.to_string(), &report);
                }
                Err(error) => {
                    tell(format_args!("{dataset} from {}: {}", peer.called, chain(&error)));
                    incomplete += 1;
                }
            }
        }
        Ok(Some(incomplete))
    }

    fn take(&self, peer: &Peer, head: &Head) -> archive::Result<SyncReport> {
        let dataset = dataset_of(head);
        let cluster_key = self.file.clusters.get(&head.cluster).and_then(|cluster| cluster.cluster_key).map(PublicKey);
        let own = self.members.trust_by(&head.cluster, cluster_key);
        let (trust, publishers) = match &peer.member {
            None => (following::trust(own, &following::told_with(head)), None),
            Some(member) => (believing(own), Some(self.members.publishers(&member.cluster))),
        };
        let options = SyncOptions { trust, publishers, runs_ahead: false, ..self.options.clone() };
        let repository = self.repositories.open_or_create(&dataset)?;
        let remote = Remote::new(peer.client.clone(), self.runtime.handle().clone(), &dataset.cluster, &dataset.name);
        // What the reigns say counts for what comes back, too.
        let failed = |error: link::Error| archive::Error::from(error);
        let publish = Publish::new(self.file, Arc::new(super::now_ms));
        let options = SyncOptions { admission: publish.rule(&dataset, head).map_err(failed)?, ..options };
        let report = sync(&remote, &repository, &Wanted::History, &options)?;
        for kept in publish.keep(&dataset, &report.aside, &remote, &repository, &options).map_err(failed)? {
            let became = kept.trouble.unwrap_or_else(|| "it is in quarantine".into());
            tell(format_args!("{dataset}: {} is no part of the history: {became}", kept.name));
        }
        Ok(report)
    }
}

/// Refusals that are told one by one.
const REFUSALS_SHOWN: usize = 5;

fn said(dataset: &str, report: &SyncReport) {
    for refused in report.refused.iter().take(REFUSALS_SHOWN) {
        tell(format_args!("{dataset}: refused: {}: {}", refused.name, refused.why));
    }
    if report.refused.len() > REFUSALS_SHOWN {
        tell(format_args!("{dataset}: {} more are refused", report.refused.len() - REFUSALS_SHOWN));
    }
    if !report.lacking.is_empty() {
        tell(format_args!("{dataset}: {} segments are lacking there", report.lacking.len()));
    }
    if let Some(error) = &report.stopped {
        tell(format_args!("{dataset}: it ended early: {}", chain(error)));
    }
}
