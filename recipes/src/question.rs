//! Questions that somebody asks of what was rehearsed, and whether they were answered well.

use crate::Error;

/// There must be a row, and the first column of each must be true: not null, empty, `0`, `f` or `false`.
pub(crate) fn judge<'a>(question: &str, rows: impl Iterator<Item = Option<&'a str>>) -> Result<(), Error> {
    let bad = |answer: String| Err(Error::Question { question: question.to_owned(), answer });
    let mut count = 0;
    for first in rows {
        match first {
            None => return bad("a row that begins with nothing".into()),
            Some("" | "0" | "f" | "false") => return bad(format!("a row that begins with {:?}", first.unwrap_or_default())),
            Some(_) => count += 1,
        }
    }
    if count == 0 { bad("no row".into()) } else { Ok(()) }
}

/// The database that is asked: the one that is named, or the only one.
pub(crate) fn one<'a>(named: Option<&'a str>, known: &'a [String]) -> Result<&'a str, Error> {
    match (named, known) {
        (Some(name), _) if known.iter().any(|known| known == name) => Ok(name),
        (Some(name), _) => Err(Error::NoPart { what: format!("the database {name}"), known: known.join(", ") }),
        (None, [only]) => Ok(only),
        (None, _) => Err(Error::NoPart { what: "the one database that questions are asked of".into(), known: known.join(", ") }),
    }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn only_a_row_that_is_true_is_a_good_answer() {
        let good = |rows: &[Option<&str>]| judge("q", rows.iter().copied()).is_ok();
        assert!(good(&[Some("t")]) && good(&[Some("1"), Some("12")]));
        assert!(!good(&[]) && !good(&[Some("t"), Some("f")]) && !good(&[None]) && !good(&[Some("0")]));
    }
}
