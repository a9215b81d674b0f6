//! Certificates on their way through hosts that cannot check them.

use super::*;

#[test]
fn a_pull_backup_without_the_cluster_key_carries_what_importers_then_check() {
    let (trial, cluster, forger) = (Trial::new(), Signer::from_seed(&[11; 32]), Signer::from_seed(&[12; 32]));
    let signer = trial.options.signer.clone();
    let tree = tree();
    trial.export(&tree);
    publish(&trial.repository, &certificate(&forger, "web1", signer.public()));
    publish(&trial.repository, &certificate(&cluster, "web1", signer.public()));
    // About a key that nobody pinned: none of this archive's business.
    publish(&trial.repository, &certificate(&forger, "web9", forger.public()));
    let (keeper, mirror) = (Keeper::new(), Keeper::new());
    let report = keeper.pull(&*trial.repository, &pins(&[&signer]), LATER_MS);
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(keeper.repository.list(archive::name::NODES).unwrap().len(), 2, "the forged one takes no place");
    let report = mirror.pull(&*keeper.repository, &rooted(&cluster), LATER_MS);
    assert!(report.is_complete(), "what others cannot check troubles nobody: {report:?}");
    assert_eq!(mirror.repository.list(archive::name::NODES).unwrap().len(), 1);
    mirror.assert_newest_is(&trial, &tree, "the mirror");
}

#[test]
fn who_forges_certificates_fills_no_disk() {
    let (trial, cluster) = (Trial::new(), Signer::from_seed(&[211; 32]));
    let signer = trial.options.signer.clone();
    trial.export(&tree());
    for number in 0..200u8 {
        publish(&trial.repository, &certificate(&Signer::from_seed(&[number; 32]), "web1", signer.public()));
    }
    for number in 0..200u64 {
        let key = PublicKey(archive::digest::sha256(&number.to_le_bytes()).0);
        publish(&trial.repository, &certificate(&signer, "web1", key));
    }
    let (pinning, open) = (Keeper::new(), Keeper::new());
    assert!(pinning.pull(&*trial.repository, &pins(&[&signer]), LATER_MS).is_complete());
    assert!(pinning.repository.list(archive::name::NODES).unwrap().len() <= 8);
    assert!(pinning.pull(&*trial.repository, &pins(&[&signer]), LATER_MS).is_complete());
    assert!(pinning.repository.list(archive::name::NODES).unwrap().len() <= 8, "a second sync takes no more");
    assert!(open.pull(&*trial.repository, &Trust::default(), LATER_MS).is_complete());
    assert!(open.repository.list(archive::name::NODES).unwrap().len() <= 1024);
    // Where the cluster key is known none of them stays.
    let report = open.pull(&*trial.repository, &rooted(&cluster), LATER_MS);
    assert!(report.snapshots.is_empty(), "{report:?}");
    let rooted_one = Keeper::new();
    let _ = rooted_one.pull(&*trial.repository, &rooted(&cluster), LATER_MS);
    assert_eq!(rooted_one.repository.list(archive::name::NODES).unwrap(), vec![]);
    assert!(rooted_one.names().is_empty());
}

#[test]
fn a_certificate_for_the_wrong_name_can_be_followed_by_the_right_one() {
    let (trial, cluster) = (Trial::new(), Signer::from_seed(&[11; 32]));
    let signer = trial.options.signer.clone();
    trial.export(&tree());
    publish(&trial.repository, &certificate(&cluster, "web11", signer.public()));
    let mirror = Keeper::new();
    let report = mirror.pull(&*trial.repository, &rooted(&cluster), LATER_MS);
    assert!(
        report.snapshots.is_empty() && report.refused.iter().any(|refusal| refusal.why.contains("its signer is node web11")),
        "{report:?}"
    );
    publish(&trial.repository, &certificate(&cluster, "web1", signer.public()));
    assert_eq!(mirror.pull(&*trial.repository, &rooted(&cluster), LATER_MS).snapshots.len(), 1);
}
