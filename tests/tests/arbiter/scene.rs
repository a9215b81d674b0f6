//! A pull-backup as a real process, and two nodes whose importers the test plays.

use election::{Envelope, Epoch, MemberRecord, Record};
use link::client::Client;
use link::identity::Identity;
use pull_backup::arbiter::record::position;
use pull_backup::reigns::Ledger;
use std::sync::Arc;
use std::time::Duration;
use tests::cluster::Cluster;
use tests::played::{Pace, Played, Role, invited, play};
use tests::wait::until;
use tokio::runtime::Runtime;

pub const LIMIT: Duration = Duration::from_secs(90);
pub const CLUSTER: &str = "shop";

pub struct Scene {
    pub cluster: Cluster,
    pub runtime: Arc<Runtime>,
}

impl Scene {
    /// Two nodes that joined and cannot be dialled; `more` stands in `[cluster.shop]`.
    pub fn new(number: u8, more: &str) -> Scene {
        let mut cluster = Cluster::new(number);
        cluster.keeper("backup", &format!("[cluster.shop]\nprofile = \"fast\"\n{more}"));
        let folder = cluster.path("data");
        std::fs::create_dir_all(&folder).unwrap();
        let datasets = format!("[[dataset]]\nname = \"files\"\n[[dataset.source]]\nrecipe = \"files\"\npaths = [{folder:?}]\n");
        for (node, role) in [("web1", "--active"), ("web2", "--standby")] {
            cluster.node(node, "dial = \"out\"\n", &datasets);
            cluster.join("backup", node, &[role]);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Scene { cluster, runtime: Arc::new(runtime) }
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::new(&self.cluster.path("backup-state"), &self.cluster.path("backup-archive"))
    }

    pub fn record(&self) -> Option<Record> {
        self.ledger().document(CLUSTER).unwrap().arbiter
    }

    pub fn plays(&self, node: &str, record: MemberRecord, meets: impl Fn(&Envelope) -> bool + Send + Sync + 'static) -> Played {
        let identity = Identity::open_or_make(&self.cluster.path(&format!("{node}-state"))).unwrap();
        let pin = Identity::open_or_make(&self.cluster.path("backup-state")).unwrap().pin;
        let address = format!("{}:8025", self.cluster.address_of("backup"));
        let client = Client::dial(&address, &identity, pin).unwrap().with(crate::place::deadlines(), None);
        let ledger = self.ledger();
        let heads = Arc::new(move || position(&ledger.heads(CLUSTER).unwrap()));
        let role = Role { cluster: CLUSTER.into(), node: node.into(), timers: crate::reigning::fast(), pace: Pace::QUICK };
        play(&self.runtime, role, client, record, heads, Arc::new(meets))
    }

    /// Both play, the first is active, and the arbiter knows that it knows the other.
    pub fn begins(&self, meets: impl Fn(&Envelope) -> bool + Send + Sync + 'static) -> (Played, Played) {
        let first = self.plays("web1", invited(crate::reigning::fast()), |_| true);
        let second = self.plays("web2", MemberRecord::default(), meets);
        serves(&first, 1, "the first reign");
        until(LIMIT, "the active knows who the members are", || {
            let record = self.record().ok_or("no record")?;
            (record.acknowledged == record.generation && record.members.len() == 2)
                .then_some(())
                .ok_or(format!("{record:?}"))
        });
        (first, second)
    }
}

pub fn serves(played: &Played, epoch: u64, what: &str) {
    until(LIMIT, what, || match played.serves() {
        Some(Epoch(now)) if now == epoch => Ok(()),
        _ => Err(format!("{:?}", played.seen())),
    });
}
