//! Sources of one snapshot: when the last of them cannot be switched, those before it are as they were.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tests::cluster::{Cluster, files};

fn program(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\nset -e\n{text}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Files, and then an application whose importer refuses when it is told to.
fn datasets(cluster: &Cluster, uploads: &Path) -> String {
    format!(
        "[[dataset]]\nname = \"shop\"\n[[dataset.source]]\nname = \"uploads\"\nrecipe = \"files\"\npaths = [{uploads:?}]\n\
         [[dataset.source]]\nname = \"app\"\nrecipe = \"app\"\nstream = true\nexport = [{:?}]\nimport = [{:?}]\n",
        cluster.path("app-exporter"),
        cluster.path("app-importer"),
    )
}

#[test]
fn a_source_that_cannot_be_switched_takes_the_others_back() {
    let mut cluster = Cluster::new(36);
    cluster.keeper("keeper", "");
    let (data, own, app) = (cluster.path("web1"), cluster.path("web2"), cluster.path("app"));
    for folder in [&data, &own] {
        std::fs::create_dir_all(folder.join("uploads")).unwrap();
    }
    program(&cluster.path("app-exporter"), &format!("cat {}", cluster.path("state-of-the-app").display()));
    program(&cluster.path("app-importer"), &format!("test ! -e {}\ncat > {}", cluster.path("refuse").display(), app.display()));
    let text = datasets(&cluster, &data.join("uploads"));
    cluster.node("web1", "", &text);
    cluster.join("keeper", "web1", &["--active"]);
    let more = format!("identity = {:?}\nsource.shop.uploads.paths = [{:?}]", cluster.path("identity"), own.join("uploads"));
    cluster.node("web2", &more, &text);
    cluster.join("keeper", "web2", &["--standby"]);
    let export = |words: &str| {
        std::fs::write(data.join("uploads/file"), words).unwrap();
        std::fs::write(cluster.path("state-of-the-app"), words).unwrap();
        cluster.run("web1", "exporter", &["run", "--wait"]).ended(0);
    };
    export("first");
    cluster.run("web2", "importer", &["sync"]).ended(0);
    let held = || (files(&own.join("uploads")), std::fs::read(&app).unwrap());
    let before = held();
    assert_eq!(before.1, b"first");
    export("second");
    std::fs::write(cluster.path("refuse"), "").unwrap();
    let failed = cluster.run("web2", "importer", &["sync"]).ended(1);
    assert!(failed.err.contains("source app"), "{}", failed.err);
    assert_eq!(held(), before, "the files were switched, and are back");
    std::fs::remove_file(cluster.path("refuse")).unwrap();
    cluster.run("web2", "importer", &["sync"]).ended(0);
    assert_eq!((held().0["file"].as_slice(), held().1.as_slice()), (b"second".as_slice(), b"second".as_slice()));
}
