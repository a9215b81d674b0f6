//! Files as they are shipped, made to fit the hosts of a test.

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
