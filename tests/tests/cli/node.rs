//! The files of a node, used by other programs than its exporter: its signing key reseals, its node file tells the importer what opens and who counts.

use archive::record::{Certificate, Signed};
use archive::sign::Signer;
use std::fs;
use std::path::{Path, PathBuf};
use tests::program::{Ran, finish, program};

struct Host {
    folder: tempfile::TempDir,
    repository: PathBuf,
    identity: PathBuf,
}

impl Host {
    /// One that exported once.
    fn new() -> Host {
        let folder = tempfile::tempdir().unwrap();
        let (identity, public) = Host::identity(folder.path(), "identity");
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::write(folder.path().join("data/file"), "content\n".repeat(1000)).unwrap();
        let repository = folder.path().join("state/datasets/shop/repository");
        let host = Host { folder, repository, identity };
        host.node_file("", &format!("recipients = [\"{public}\"]"));
        finish(program("exporter").arg("run").arg("--config").arg(host.path("node.toml"))).ended(0);
        host
    }

    fn identity(folder: &Path, name: &str) -> (PathBuf, String) {
        let (private, public) = archive::identity::generate();
        fs::write(folder.join(name), private).unwrap();
        (folder.join(name), public)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn node_file(&self, node: &str, seal: &str) {
        let (state, data) = (self.path("state"), self.path("data"));
        let text = format!(
            "cluster = \"shop\"\n[node]\nname = \"web1\"\nstate = {state:?}\n{node}\n[seal]\n{seal}\n[[dataset]]\nname = \"shop\"\nevery = \"60m\"\n[[dataset.source]]\nrecipe = \"files\"\npaths = [{data:?}]\n"
        );
        fs::write(self.path("node.toml"), text).unwrap();
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Ran {
        finish(program(name).args(arguments).arg("--repository").arg(&self.repository))
    }

    fn assert_restores(&self, name: &str, arguments: &[&str]) {
        let to = tempfile::tempdir().unwrap();
        let line = [&["restore", "--at", "latest", "--to", to.path().to_str().unwrap()], arguments].concat();
        self.run(name, &line).ended(0);
        assert_eq!(fs::read(to.path().join("files/file")).unwrap(), fs::read(self.path("data/file")).unwrap());
    }

    /// The cluster key certifies the node.
    fn certify(&self, cluster: &Signer) {
        let seed = archive::id::unhex(fs::read_to_string(self.path("state/node.key")).unwrap().trim()).unwrap();
        let key = Signer::from_seed(&seed).public();
        let certificate = Certificate { cluster: "shop".into(), node: "web1".into(), key, issued_ms: 1 };
        fs::create_dir(self.repository.join("nodes")).unwrap();
        let signed = Signed::sign(certificate, cluster);
        fs::write(self.repository.join(archive::name::node(&key, signed.id())), archive::repository::alone(&signed)).unwrap();
    }
}

#[test]
fn the_nodes_own_key_reseals_and_the_new_identity_alone_restores() {
    let host = Host::new();
    let (new, public) = Host::identity(host.folder.path(), "new");
    let (new, old) = (new.to_str().unwrap(), host.identity.to_str().unwrap());
    let to = host.path("nothing");
    host.run("pull-backup", &["restore", "--at", "latest", "--to", to.to_str().unwrap(), "--identity", new])
        .ended(1);
    let key = host.path("state/node.key");
    let line = ["reseal", "--node", "web1", "--signing-key", key.to_str().unwrap(), "--recipient", &public, "--identity", old];
    let ran = host.run("pull-backup", &line).ended(0);
    assert!(ran.text().contains("1 sealing identities resealed"), "{}", ran.text());
    fs::remove_file(old).unwrap();
    host.assert_restores("pull-backup", &["--identity", new]);
    host.run("pull-backup", &["check", "--read"]).ended(0);
    // Where the cluster key is known, what the node's key signed counts, the new generation included.
    let cluster = Signer::from_seed(&[8; 32]);
    host.certify(&cluster);
    host.assert_restores("pull-backup", &["--identity", new, "--cluster-key", &cluster.public().to_string()]);
}

#[test]
fn the_importer_takes_identity_and_cluster_key_from_the_node_file() {
    let host = Host::new();
    let cluster = Signer::from_seed(&[8; 32]);
    host.node_file(&format!("identity = {:?}", host.identity), &format!("off = true\ncluster_key = \"{}\"", cluster.public()));
    let file = host.path("node.toml");
    let file = file.to_str().unwrap();
    // Nobody certified the node yet.
    let refused = host.run("importer", &["ls", "latest", "--config", file]).ended(3);
    assert!(refused.err.contains("was not certified by the cluster key"), "{}", refused.err);
    let own = Signer::from_seed(&archive::id::unhex(fs::read_to_string(host.path("state/node.key")).unwrap().trim()).unwrap());
    host.assert_restores("importer", &["--config", file, "--signer", &own.public().to_string()]);
    host.certify(&cluster);
    host.assert_restores("importer", &["--config", file]);
    let checked = host.run("importer", &["--config", file, "check", "--read"]).ended(0);
    assert!(checked.text().contains("0 findings"), "{}", checked.text());
    let listed = host.run("importer", &["snapshots", "--json", "--config", file]).ended(0).json();
    assert!(listed.to_string().contains("certified"), "{listed}");
    // The variable does the same; a flag is stronger than the file.
    let mut command = program("importer");
    command.env("RESILIENT_CONFIG", file).args(["ls", "latest", "--repository"]).arg(&host.repository);
    finish(&mut command).ended(0);
    let (other, _) = Host::identity(host.folder.path(), "other");
    host.run("importer", &["ls", "latest", "--config", file, "--identity", other.to_str().unwrap()])
        .ended(1);
    let stranger = crate::stand::stranger();
    host.run("importer", &["ls", "latest", "--config", file, "--cluster-key", &stranger]).ended(3);
    // Without either, the identity is missing.
    host.run("importer", &["ls", "latest"]).ended(2);
    host.run("importer", &["ls", "latest", "--config", "/nonexistent"]).ended(2);
}
