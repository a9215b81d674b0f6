//! Whatever people order and whatever dies meanwhile, by chance that can be had again: one after the other is active, and what was acknowledged is there or in quarantine.

use crate::books::reigns;
use crate::scene::{LIMIT, Scene};
use std::time::Duration;
use tests::chance::{Chance, budget};
use tests::program::finish;
use tests::wait::{until, within};

/// What a person orders, of the active or of one that stands by.
#[derive(Clone, Copy, Debug)]
enum Order {
    Switchover,
    Close,
    Failback,
}

/// What dies meanwhile.
#[derive(Clone, Copy, Debug)]
enum Dies {
    Nothing,
    Importer(&'static str),
    Exporter(&'static str),
    Arbiter,
    Host(&'static str),
}

/// An order ends within this time, one way or the other.
const ORDER: &str = "activation = \"20s\"\nfinal_export = \"10s\"\nmax_pause = \"10s\"\n";
/// Within so long of an order something dies.
const MOMENT_MOST_MS: usize = 500;

impl Scene {
    fn dies(&mut self, what: Dies) {
        match what {
            Dies::Nothing => {}
            Dies::Importer(node) => self.cluster.kill(node, "importer"),
            Dies::Exporter(node) => self.cluster.kill(node, "exporter"),
            Dies::Arbiter => self.cluster.kill("backup", "pull-backup"),
            Dies::Host(node) => self.kill_host(node),
        }
    }

    fn returns(&mut self, what: Dies) {
        match what {
            Dies::Nothing => {}
            Dies::Importer(node) => self.cluster.start(node, "importer"),
            Dies::Exporter(node) => self.cluster.start(node, "exporter"),
            Dies::Arbiter => self.cluster.start("backup", "pull-backup"),
            Dies::Host(node) => {
                self.forget_boot(node);
                self.start(node);
            }
        }
    }

    /// Everybody takes part again, one is active, and the others are ready. Which one that is.
    #[track_caller]
    fn settles(&self) -> &'static str {
        let mut seen = Vec::new();
        until(LIMIT, "one to be active and the others to be ready", || {
            let now: Vec<String> = self.nodes.iter().map(|node| self.standing(node)).collect();
            for (node, standing) in self.nodes.iter().zip(&now) {
                // A closed one does nothing by itself; where nobody is active, a person takes care.
                if standing == "closed" || (standing == "ready" && !now.iter().any(|other| other != "ready" && other != "closed")) {
                    seen.push(self.cluster.run(node, "importer", &["failback"]).err);
                }
            }
            let active = self.nodes.iter().zip(&now).filter(|(_, standing)| *standing == "active");
            let active: Vec<&'static str> = active.map(|(node, _)| *node).collect();
            let ready = now.iter().filter(|standing| *standing == "ready").count();
            match active.as_slice() {
                [only] if ready + 1 == now.len() => Ok(*only),
                _ => Err(format!("{now:?}; {seen:?}")),
            }
        })
    }
}

#[test]
fn whatever_is_ordered_and_whatever_dies_one_at_a_time_serves_and_nothing_is_lost() {
    let seed = std::env::var("RESILIENT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(14);
    let mut chance = Chance::new(seed);
    let mut scene = Scene::new(2, "", ORDER);
    let customer = scene.customer();
    for round in 0..budget(4) {
        let active = scene.settles();
        let other = scene.nodes.iter().copied().find(|node| *node != active).unwrap();
        customer.more(10, active);
        let order = [Order::Switchover, Order::Close, Order::Failback][chance.below(3)];
        let hurt = [active, other][chance.below(2)];
        let dies = [Dies::Nothing, Dies::Importer(hurt), Dies::Exporter(hurt), Dies::Arbiter, Dies::Host(hurt)][chance.below(5)];
        let moment = Duration::from_millis(chance.below(MOMENT_MOST_MS) as u64);
        println!("round {round} of seed {seed}: {order:?} while {active} is active; after {moment:?} dies {dies:?}");
        let mut command = match order {
            Order::Switchover => scene.cluster.command(active, "importer", &["switchover", "--to", other]),
            Order::Close => scene.cluster.command(active, "importer", &["close"]),
            Order::Failback => scene.cluster.command(other, "importer", &["failback"]),
        };
        let asked = std::thread::spawn(move || finish(&mut command));
        // Any moment will do: whatever it meets must be well.
        let _ = within(moment, || None::<()>);
        scene.dies(dies);
        scene.returns(dies);
        let ran = asked.join().unwrap();
        println!("    {}: {}", ran.status, ran.err.trim().replace('\n', "; "));
        assert!(matches!(ran.status, 0 | 1 | 3), "{}", ran.err);
        assert!(ran.status == 0 || !matches!(dies, Dies::Nothing), "nothing was in the way: {}", ran.err);
    }
    let active = scene.settles();
    customer.more(10, active);
    let (taken, epochs) = (customer.end(), scene.epoch());
    // Two that serve at once would be seen by turns, far more often than there were reigns.
    assert!(reigns(&taken).len() as u64 <= epochs, "{epochs} epochs, and these answered: {:?}", reigns(&taken));
    let lost = scene.lost(active, &taken);
    assert!(lost.is_empty(), "acknowledged, and neither there nor in quarantine: {lost:?}");
    scene.cluster.stop();
}
