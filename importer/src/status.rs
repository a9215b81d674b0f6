//! How a node that stands by stands: its mirror, what was imported of it, and the pull-backups that it follows, from the node's disk alone.

use crate::drilled::Drilled;
use crate::imported::Imported;
use crate::takeover::{outside, words};
use console::node_file::{Dataset, NodeFile};
use jiff::tz::TimeZone;
use link::membership::{Membership, PullBackup, Reign};
use link::pull::chain;
use link::repositories::{Dataset as Of, Layout};
use link::running::peek;
use standing::holding::{Holding, Holdings};
use standing::host::{Daemon, Drill, Host, Line, Peer, Role};
use standing::kept::{Kept, asked, pulling};
use standing::outside::Part;
use standing::place::{ms, schedule};
use standing::receiving::compared;
use std::sync::Arc;
use watch::health::Failure;
use watch::{Evidence, Hop, Place, Schedule};

/// What a look needs.
pub struct Looking {
    pub file: NodeFile,
    pub zone: TimeZone,
    pub holdings: Holdings,
}

/// The dataset's name where something concerns all of them; no dataset can have it.
const ALL: &str = "*";

impl Looking {
    pub fn new(file: NodeFile, zone: TimeZone) -> Looking {
        Looking { file, zone, holdings: Holdings::default() }
    }

    fn place(&self, dataset: &str, hop: Hop, peer: Option<&str>) -> Place {
        Place { cluster: self.file.cluster.clone(), dataset: dataset.into(), hop, peer: peer.map(str::to_owned) }
    }

    /// What the mirror holds of a dataset.
    pub fn holding(&self, dataset: &str, now_ms: u64) -> standing::Result<Option<Arc<Holding>>> {
        let layout = Layout::Node { state: self.file.node.state.clone(), cluster: self.file.cluster.clone() };
        self.holdings
            .of(&layout.path(&Of { cluster: self.file.cluster.clone(), name: dataset.into() }), now_ms)
    }

    /// How the node stands now.
    pub fn look(&self, now_ms: u64) -> Host {
        let state = &self.file.node.state;
        let (seen, name) = (peek(state, "importer"), &self.file.node.name);
        let reign = Reign::open(state).ok().flatten();
        if reign.as_ref().is_some_and(|reign| reign.active) {
            let rest = "this node is the active one: it exports, and imports nothing";
            let mut host = Host::new("importer", name, Daemon::judged("importer", seen, Some(rest), now_ms), now_ms);
            host.role = self.role();
            self.outside(&mut host, now_ms);
            return host.at_rest(rest);
        }
        let mut host = Host::new("importer", name, Daemon::judged("importer", seen, None, now_ms), now_ms);
        host.role = self.role();
        self.outside(&mut host, now_ms);
        let wrong = |error: link::Error| Line::judged(self.place(ALL, Hop::Mirror, None), wrong(&error), None, false, now_ms);
        let known: Vec<PullBackup> = match Membership::open(state) {
            Ok(membership) => membership.pull_backups.into_iter().filter(|known| known.cluster == self.file.cluster).collect(),
            Err(error) => {
                host.datasets.push(wrong(error));
                vec![]
            }
        };
        let kept = Kept::open(state, "importer").unwrap_or_else(|error| {
            host.datasets.push(wrong(error));
            Kept::default()
        });
        let imports = reign.is_some();
        for dataset in &self.file.datasets {
            let imports = imports && (self.file.node.identity.is_some() || !dataset.seal);
            self.dataset(dataset, &known, &kept, imports, now_ms, &mut host.datasets);
        }
        host.drills = self.drills(&mut host.datasets, now_ms);
        host.peers = known.iter().map(|known| peer(known, &kept, now_ms)).collect();
        host.finish("the node file has no dataset")
    }

    /// As the daemon wrote it last.
    fn role(&self) -> Option<Role> {
        let role = Reign::written(&self.file.node.state).ok()??.lease?;
        let left = role.lease_until.since(link::boot::now());
        let holds = link::boot::id().is_ok_and(|boot| boot == role.boot) && !left.is_zero();
        Some(Role {
            standing: words::standing(role.standing).into(),
            epoch: role.epoch.0,
            lease_left_seconds: holds.then_some(left.as_secs()),
        })
    }

    /// Where addresses and names are, as the daemon saw it last.
    fn outside(&self, host: &mut Host, now_ms: u64) {
        let Some(takeover) = &self.file.takeover else { return };
        let part = Reign::written(&self.file.node.state)
            .ok()
            .flatten()
            .and_then(|reign| reign.lease)
            .map_or(Part::Rests, |role| {
                let lives = host.role.as_ref().is_some_and(|role| role.lease_left_seconds.is_some());
                if lives { outside::part(role.standing) } else { Part::Rests }
            });
        let kept = outside::kept(&self.file.node.state);
        let vips = takeover.vips.iter();
        host.addresses = vips.map(|vip| kept.address(&vip.address.to_string(), &vip.interface, part, now_ms)).collect();
        let domains = takeover.domains.iter();
        host.domains = domains
            .map(|domain| kept.domain(&outside::meant(&self.file, takeover, domain), part, now_ms))
            .collect();
    }

    fn dataset(&self, dataset: &Dataset, known: &[PullBackup], kept: &Kept, imports: bool, now_ms: u64, lines: &mut Vec<Line>) {
        let schedule = schedule(&dataset.schedule, &self.zone).ok();
        let (holding, trouble) = match self.holding(&dataset.name, now_ms) {
            Ok(holding) => (holding, None),
            Err(error) => (None, Some(chain(&error))),
        };
        let of = Of { cluster: self.file.cluster.clone(), name: dataset.name.clone() };
        for known in known {
            let (pulled, peer) = (kept.pulled(&of, known.pin), kept.peer(known.pin));
            let mut evidence = pulling(holding.as_deref(), pulled, peer);
            evidence.wrong.extend(trouble.clone());
            let place = self.place(&dataset.name, Hop::Mirror, Some(&known.address));
            let line = Line::judged(place, evidence, schedule.as_ref(), false, now_ms);
            lines.push(line.seen(peer.and_then(|peer| peer.answered_ms), pulled.map(|pulled| pulled.went.bytes)));
        }
        if known.is_empty() {
            let mut evidence = pulling(holding.as_deref(), None, None);
            evidence
                .wrong
                .push("no pull-backup was joined: `pull-backup invite` there, then `importer join` here".into());
            lines.push(Line::judged(self.place(&dataset.name, Hop::Mirror, None), evidence, schedule.as_ref(), false, now_ms));
        }
        if let Some(line) = self.imported(dataset, holding.as_deref(), imports, schedule.as_ref(), now_ms) {
            lines.push(line);
        }
    }

    /// The last drill of each dataset that had one.
    fn drills(&self, lines: &mut Vec<Line>, now_ms: u64) -> Vec<Drill> {
        let mut drills = Vec::new();
        for dataset in &self.file.datasets {
            match Drilled::open(&self.file.node.state, &dataset.name) {
                Ok(drilled) => drills.extend(drilled.map(|drilled| drilled.shown(&dataset.name))),
                Err(error) => lines.push(Line::judged(self.place(&dataset.name, Hop::Import, None), wrong(&error), None, false, now_ms)),
            }
        }
        drills
    }

    /// What was imported; nothing where nothing is to be imported.
    fn imported(
        &self,
        dataset: &Dataset,
        holding: Option<&Holding>,
        imports: bool,
        schedule: Option<&Schedule>,
        now_ms: u64,
    ) -> Option<Line> {
        let state = &self.file.node.state;
        if !imports && !Imported::path(state, &dataset.name).exists() {
            return None;
        }
        let evidence = match Imported::open(state, &dataset.name) {
            Ok(Imported { snapshot, captured_ms, at_ms, begun, failures, trouble, failed_ms, .. }) => {
                let nothing = Holding::default();
                // Whoever imported the newest snapshot has what the newest heartbeat is about.
                let mut evidence = compared(holding.unwrap_or(&nothing), snapshot.as_deref(), Some(u64::MAX), at_ms);
                if evidence.queued_snapshots == 0 {
                    evidence.verified_ms = None;
                }
                evidence.captured_ms = evidence.captured_ms.or((captured_ms > 0).then_some(ms(captured_ms)));
                evidence.success_ms = (at_ms > 0).then_some(ms(at_ms));
                evidence.advice = Some("see that `importer serve` runs here, and what its log says".into());
                evidence.failures = failures;
                evidence.failure = trouble.map(|text| Failure { at_ms: ms(failed_ms), text });
                if begun.is_some() && failures > 0 {
                    evidence
                        .wrong
                        .push("an import ended in the middle, so that the data may be of two snapshots; the next import mends it".into());
                }
                evidence
            }
            Err(error) => wrong(&error),
        };
        Some(Line::judged(self.place(&dataset.name, Hop::Import, None), evidence, schedule, false, now_ms))
    }
}

fn wrong(error: &link::Error) -> Evidence {
    Evidence { wrong: vec![chain(error)], ..Evidence::default() }
}

fn peer(known: &PullBackup, kept: &Kept, now_ms: u64) -> Peer {
    let of = kept.peer(known.pin);
    let (word, why) = asked(of, now_ms);
    let peer = Peer {
        name: known.address.clone(),
        cluster: known.cluster.clone(),
        role: "pull-backup",
        address: Some(known.address.clone()),
        word,
        why,
        last_seen: None,
        given: None,
        bytes: Some(of.map_or(0, |peer| peer.went.bytes)),
        failures: of.map_or(0, |peer| peer.went.failures),
        last_seen_ms: None,
    };
    peer.seen(of.and_then(|peer| peer.answered_ms))
}
