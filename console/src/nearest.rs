//! Which known word was meant by one that is not.
//!
//! Silent about words that are far from all: a wrong guess misleads more than none helps.

/// The nearest of `known`, when it is near enough to be what was meant.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let most = (word.chars().count() / 3).max(1) + 1;
    let measured = known.map(|key| (distance(&word.to_lowercase().replace('-', "_"), &key.replace('-', "_")), key));
    measured.filter(|(far, _)| *far <= most).min().map(|(_, key)| key)
}

/// Edit distance: insert, delete, replace, or exchange two neighbours (the most common slip).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_exchanges_once() {
        assert_eq!(distance("evrey", "every"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
        assert_eq!(distance("exclud", "exclude"), 1);
    }

    #[test]
    fn nearest_keeps_silent_about_what_is_far() {
        let known = ["paths", "exclude", "one_file_system"];
        assert_eq!(nearest("path", known.into_iter()), Some("paths"));
        assert_eq!(nearest("one-file-system", known.into_iter()), Some("one_file_system"));
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}
