//! Names of databases, schemas and tables as names of files: readable where they can be, and never a way out of their folder.

/// Letters, digits and most signs stay; what has a meaning in paths, and what a terminal would obey, is written as `%` and two digits.
pub(crate) fn name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, c) in name.chars().enumerate() {
        if c.is_control() || c == '/' || c == '%' || (at == 0 && c == '.') {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().for_each(|byte| out.push_str(&format!("%{byte:02x}")));
        } else {
            out.push(c);
        }
    }
    // No file's name is longer; no two names of a database become one, since a server's names are shorter than what is kept.
    if out.len() > 255 {
        format!("{}%{:x}", &out[..out.floor_char_boundary(200)], xxhash_rust::xxh3::xxh3_128(name.as_bytes()))
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_stay_apart_and_in_their_folder() {
        assert_eq!(name("orders"), "orders");
        assert_eq!(name("Größe \"1\""), "Größe \"1\"");
        assert_eq!(name("../x"), "%2e.%2fx");
        assert_eq!(name("."), "%2e");
        assert_eq!(name("a\nb%"), "a%0ab%25");
        assert_ne!(name("a%0ab"), name("a\nb"));
        let long = "\u{1}".repeat(100);
        assert!(name(&long).len() <= 255 && name(&long) != name(&format!("{long}\u{1}")));
    }
}
