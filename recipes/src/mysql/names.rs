//! Names and texts in statements. Whatever a name holds, it stays one.

/// A name between backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// `database`.`table`.
pub(super) fn of(database: &str, table: &str) -> String {
    format!("{}.{}", quoted(database), quoted(table))
}

/// A text between quotes, for a session whose sql_mode has neither ANSI_QUOTES nor NO_BACKSLASH_ESCAPES.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A database's name in a GRANT, where `_` and `%` would be patterns. Where the backslashes make it too long for one, `_` stands for each such sign: any one.
pub(super) fn pattern(name: &str) -> String {
    let escaped = escaped(name);
    if escaped.chars().count() <= NAME_CHARS_MAX { quoted(&escaped) } else { quoted(&name.replace(['_', '%', '\\'], "_")) }
}

fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")
}

pub(super) const NAME_CHARS_MAX: usize = 64;

/// The name of a database beside another: `app__new`. A name too long for that is shortened, and told apart by its hash.
pub(super) fn beside(name: &str, what: &str) -> String {
    let whole = format!("{name}__{what}");
    if escaped(&whole).chars().count() <= NAME_CHARS_MAX {
        return whole;
    }
    let short = name
        .chars()
        .take(NAME_CHARS_MAX - what.len() - 21)
        .collect::<String>()
        .replace(['_', '%', '\\'], "-");
    format!("{short}-{:016x}__{what}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()))
}

/// Whether a name may be a database that is exported or imported.
pub(super) fn fit(name: &str) -> bool {
    let own = ["mysql", "information_schema", "performance_schema", "sys"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own));
    !own && !name.is_empty() && !name.contains('\0') && name.chars().count() <= NAME_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_end_early() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(text("it's \\ "), "'it\\'s \\\\ '");
        assert_eq!(pattern("a_b%`\\"), "`a\\_b\\%``\\\\`");
        assert_eq!(pattern(&"a%".repeat(32)), quoted(&"a_".repeat(32)));
        let long = "ä".repeat(64);
        assert!(beside(&long, "new").chars().count() <= 64 && beside(&long, "new") != beside(&format!("b{long}"), "new"));
        assert!(!fit("MySQL") && !fit("") && fit("my\nsql"));
    }
}
