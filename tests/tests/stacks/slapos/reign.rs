//! Takeover, backup, takeover again, with three imports, each host in a network of its own, as shipped: by a person's word.

use super::{Host, LIMIT, ONCE, keeper};
use crate::scene::Scene;
use std::process::Command;
use tests::chance::noise;
use tests::cluster::Cluster;
use tests::wait::until;

const HOSTS: [&str; 4] = ["host0", "host1", "host2", "host3"];

struct Reign {
    scene: Scene,
    hosts: Vec<Host>,
}

impl Reign {
    /// host0 is active, three import and are ready.
    fn begun() -> Reign {
        let mut cluster = Cluster::apart(5);
        cluster.keeper("backup", &keeper("profile = \"fast\"\n"));
        let hosts: Vec<Host> = HOSTS.iter().map(|name| Host::new(cluster.path(&format!("{name}-srv")))).collect();
        for (at, name) in HOSTS.into_iter().enumerate() {
            let (datasets, takeover) = hosts[at].fitted(ONCE);
            let run = cluster.path(name).join("run");
            std::fs::create_dir_all(&run).unwrap();
            let more = format!("identity = {:?}\nrun = {run:?}\n", cluster.path("identity"));
            cluster.node(name, &more, &format!("{datasets}{takeover}"));
            cluster.join("backup", name, &[if at == 0 { "--active" } else { "--standby" }]);
        }
        let mut reign = Reign { scene: Scene::of(cluster, HOSTS.to_vec()), hosts };
        reign.hosts[0].write("key", "nothing yet");
        let started = Command::new(reign.hosts[0].0.join("etc/slapos"))
            .args(["node", "supervisorctl", "start", "slappart1:*"])
            .status();
        assert!(started.unwrap().success());
        HOSTS.into_iter().for_each(|name| reign.scene.start(name));
        reign.scene.importer("host0", &["activate", "--adopt"]);
        reign.scene.exported("host0");
        for name in &HOSTS[1..] {
            reign.scene.becomes(name, "ready");
        }
        reign
    }

    fn host(&self, name: &str) -> &Host {
        let at = HOSTS.iter().position(|known| *known == name).unwrap();
        &self.hosts[at]
    }

    /// A value is exported by the active, and imported by these.
    #[track_caller]
    fn carries(&self, active: &str, name: &str, text: &str, imports: &[&'static str]) {
        self.host(active).write(name, text);
        self.scene.exported(active);
        for import in imports {
            until(LIMIT, &format!("{import} to have {name}"), || {
                let found = self.host(import).read(name);
                if found.as_deref() == Some(text) { Ok(()) } else { Err(format!("{found:?}")) }
            });
        }
    }

    /// The active one dies, and a person has another take over as soon as that is safe.
    #[track_caller]
    fn taken_over(&mut self, dead: &str, among: &[&'static str]) -> &'static str {
        self.scene.kill_host(dead);
        until(LIMIT, "the lease to be over, and somebody to be elected", || {
            let elected = self.scene.cluster.run("backup", "pull-backup", &["elect"]);
            if elected.status == 0 { Ok(()) } else { Err(elected.err) }
        });
        let active = self.scene.wait_for_active(among);
        for name in among {
            let runs = self.host(name).0.join("etc/running").exists();
            assert_eq!(runs, *name == active, "{name}");
        }
        active
    }
}

#[test]
fn a_random_key_survives_a_takeover_a_backup_and_another_takeover_and_nothing_is_imported_on_the_active() {
    let mut reign = Reign::begun();
    let keys: Vec<String> = (0..3).map(|seed| archive::id::hex(&noise(u64::from(std::process::id()) + seed, 32))).collect();
    reign.carries("host0", "key", &keys[0], &HOSTS[1..]);
    reign.host("host0").write("tail", "exported by nobody");
    let first = reign.taken_over("host0", &HOSTS[1..]);
    assert_eq!(reign.host(first).read("key"), Some(keys[0].clone()));

    // What is written there now stays, whatever is asked.
    reign.host(first).write("second", &keys[1]);
    let imported = reign.host(first).calls().iter().filter(|call| call.starts_with("import")).count();
    let said = reign.scene.importer(first, &["sync"]);
    assert!(said.contains("active"), "{said}");

    // A backup after a takeover, for those who still import.
    let others: Vec<&'static str> = HOSTS[1..].iter().copied().filter(|name| *name != first).collect();
    reign.carries(first, "second", &keys[1], &others);
    reign.scene.cluster.run("backup", "pull-backup", &["ack"]).ended(0);

    // The old one returns as an import; what it alone had is not lost, and counts for nobody.
    reign.scene.forget_boot("host0");
    reign.scene.start("host0");
    reign.scene.becomes("host0", "ready");
    assert_eq!(reign.host("host0").data(), reign.host(first).data());
    until(LIMIT, "its tail in quarantine", || {
        let aside = reign.scene.cluster.run("backup", "pull-backup", &["quarantine", "list"]).ended(0);
        if aside.text().contains("host0") { Ok(()) } else { Err(aside.text().to_owned()) }
    });
    let after = reign.host(first).calls().iter().filter(|call| call.starts_with("import")).count();
    assert_eq!(after, imported, "nothing was imported on the active");
    assert_eq!(reign.host(first).read("second"), Some(keys[1].clone()));

    let imports: Vec<&'static str> = HOSTS.iter().copied().filter(|name| *name != first).collect();
    let second = reign.taken_over(first, &imports);
    let others: Vec<&'static str> = imports.into_iter().filter(|name| *name != second).collect();
    reign.carries(second, "third", &keys[2], &others);
    for name in others.iter().chain([&second]) {
        let found = ["key", "second", "third"].map(|value| reign.host(name).read(value).unwrap());
        assert_eq!(found.as_slice(), keys, "{name}");
    }
    reign.scene.cluster.stop();
}
