//! Files as they are shipped, made to fit the hosts of a test.

use crate::scene::Scene;

/// What a file has from `begin` on, with these words in place of others, all of which must be there.
#[track_caller]
pub fn fitted(shipped: &str, begin: &str, words: &[(&str, &str)]) -> String {
    let at = shipped.find(begin).unwrap_or_else(|| panic!("{begin} is not shipped any more"));
    let mut text = shipped[at..].to_owned();
    for (old, new) in words {
        assert!(text.contains(old), "{old} is not shipped any more");
        text = text.replace(old, new);
    }
    text
}

impl Scene {
    /// What a command of the importer's says, which must end well.
    #[track_caller]
    pub fn importer(&self, node: &str, words: &[&str]) -> String {
        let ran = self.cluster.run(node, "importer", words).ended(0);
        ran.text().to_owned() + &ran.err
    }

    /// Everything that is there now is exported, and held.
    #[track_caller]
    pub fn exported(&self, node: &str) {
        self.cluster.run(node, "exporter", &["run", "--wait"]).ended(0);
    }
}
