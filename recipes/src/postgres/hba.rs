//! The guard in the server's pg_hba.conf, which holds from the server's first moment, before anybody could connect.
//!
//! Lines are read from the top, and the first that fits decides. So a block at the top lets in us and the reader, just as the lines below do, and then refuses
//! everybody else the databases of this source. What stands below stays as it is, byte by byte; lifting the guard takes the block away.
//!
//! The rights of roles are taken as well (`roles`) when the server runs: the one holds without this file, the other without a running server.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::connect::{failed, literal};
use super::{Inner, catalog, cron, renew, roles, swap};
use crate::Error;
use crate::data::{Finding, Level};
use crate::replace::replace_as;

const BEGIN: &str =
    "# resilient: this node stands by. Only imports and the reader get in; `importer guard` wrote this, and activation removes it.";
const END: &str = "# resilient: end of the guard";

pub(super) fn guard(inner: &Inner) -> Result<Vec<Finding>, Error> {
    let Some(path) = &inner.settings.hba_file else {
        return roles::guard(inner).map_err(|error| match is_down(&error) {
            true => Error::NotRunning { key: "hba_file", names: "the server's pg_hba.conf" },
            false => error,
        });
    };
    let text = read(path)?;
    let guarded = guarded(inner, without(&text)).map_err(|reason| Error::Unguarded { path: path.clone(), reason })?;
    write(path, &text, &guarded)?;
    match roles::guard(inner) {
        Ok(found) => reload(inner, true).map(|()| found),
        Err(error) if is_down(&error) => {
            let what = format!("the server does not run; {} guards it from its start", path.display());
            Ok(vec![Finding::new(Level::Note, what)])
        }
        Err(error) => Err(error),
    }
}

pub(super) fn lift(inner: &Inner) -> Result<Vec<Finding>, Error> {
    renew::forget(inner)?;
    let mut found = roles::lift(inner)?;
    found.extend(cron::bring_back(inner)?);
    if let Some(path) = &inner.settings.hba_file {
        let text = read(path)?;
        write(path, &text, without(&text))?;
        reload(inner, false)?;
    }
    Ok(found)
}

/// Whether nobody listens there.
fn is_down(error: &Error) -> bool {
    let Error::Postgres { source, .. } = error else { return false };
    let source = std::error::Error::source(source.as_ref()).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused))
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::io("read", path, error))
}

/// The file without our block.
fn without(text: &str) -> &str {
    let after = text.strip_prefix(BEGIN).and_then(|rest| rest.split_once(END));
    after.map_or(text, |(_, rest)| rest.strip_prefix('\n').unwrap_or(rest))
}

/// Replaces it as a whole, for the same owner.
fn write(path: &Path, before: &str, after: &str) -> Result<(), Error> {
    if before == after {
        return Ok(());
    }
    let failed = |error: std::io::Error| Error::io("write", path, error);
    let found = fs::metadata(path).map_err(failed)?;
    let owner = |file: &File| {
        file.set_permissions(found.permissions())?;
        std::os::unix::fs::fchown(file, Some(found.uid()), Some(found.gid()))
    };
    replace_as(path, after.as_bytes(), owner).map_err(failed)
}

/// Lets the server read the file again, and sends away whoever would not get in now.
fn reload(inner: &Inner, send_away: bool) -> Result<(), Error> {
    let mut client = inner.connect(catalog::ANY)?;
    let failed = failed("guard the connections to", catalog::ANY);
    client.batch_execute("SELECT pg_reload_conf()").map_err(&failed)?;
    if send_away {
        let settings = &inner.settings;
        let stay: Vec<&str> = [Some(&settings.user), settings.reader.as_ref()].into_iter().flatten().map(String::as_str).collect();
        let away = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
                    AND usename <> ALL ($1) AND (cardinality($2::text[]) = 0 OR datname = ANY ($2))";
        client.query(away, &[&stay, &settings.databases]).map_err(&failed)?;
    }
    Ok(())
}

/// The file with our block at its top.
fn guarded(inner: &Inner, text: &str) -> Result<String, String> {
    let settings = &inner.settings;
    let mut block = vec![BEGIN.to_owned()];
    let ours: Vec<&str> = [Some(&settings.user), settings.reader.as_ref()].into_iter().flatten().map(String::as_str).collect();
    let mut lets_us_in = false;
    for line in lines(text) {
        let words = words(&line);
        let Some(kind) = words.first().map(String::as_str) else { continue };
        if kind.starts_with("include") {
            return Err("it includes other files, whose lines would have to be guarded as well: write them into this one".into());
        }
        let (Some(database), Some(users), true) = (words.get(1), words.get(2), words.len() > 3) else { continue };
        if database == "replication" {
            continue;
        }
        let named: Vec<&str> = users.split(',').map(|user| user.trim_matches('"')).collect();
        let allowed: Vec<String> = ours
            .iter()
            .filter(|user| users.split(',').any(|name| name == "all") || named.contains(*user))
            .map(|user| format!("\"{user}\""))
            .collect();
        if !allowed.is_empty() {
            let refuses = words[3..].iter().any(|word| word == "reject");
            lets_us_in |= !refuses && allowed.contains(&format!("\"{}\"", settings.user));
            block.push(format!("{kind} {database} {} {}", allowed.join(","), words[3..].join(" ")));
        }
    }
    if !lets_us_in {
        return Err(format!("no line of it lets the role {} in; add one, for all databases", settings.user));
    }
    let databases = refused(&settings.databases)?;
    block.push(format!("local {databases} all reject"));
    block.push(format!("host {databases} all all reject"));
    block.push(END.to_owned());
    Ok(format!("{}\n{text}", block.join("\n")))
}

/// The databases that others are refused, those beside them included.
fn refused(databases: &[String]) -> Result<String, String> {
    if databases.is_empty() {
        return Ok("all".into());
    }
    if let Some(name) = databases.iter().find(|name| name.contains(['"', '\n', ','])) {
        return Err(format!("the database {} has a name that cannot stand in it", literal(name)));
    }
    let all = databases.iter().flat_map(|name| swap::all_names(name)).map(|name| format!("\"{name}\""));
    Ok(all.collect::<Vec<_>>().join(","))
}

/// Lines, those that go on after a backslash joined.
fn lines(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match all.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(part),
            None => all.push(part.to_owned()),
        }
        goes_on = more;
    }
    all
}

/// Words of a line, quotes kept; a comment ends it, and a comma binds.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
            }
            '#' if !quoted => break,
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() && !word.ends_with(',') {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                // After a comma a list goes on; before one it does as well.
                if c == ','
                    && word.is_empty()
                    && let Some(last) = words.pop()
                {
                    word = last;
                }
                word.push(c);
            }
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, lines, without, words};

    #[test]
    fn words_are_taken_as_the_server_takes_them() {
        assert_eq!(words("host\tall  \"a b\",c 10.0.0.0/8 md5 # all"), ["host", "all", "\"a b\",c", "10.0.0.0/8", "md5"]);
        assert_eq!(words("local a, b , c all peer"), ["local", "a,b,c", "all", "peer"]);
        assert_eq!(words("  # nothing"), Vec::<String>::new());
        assert_eq!(lines("a \\\nb\nc"), ["a b", "c"]);
    }

    #[test]
    fn what_stands_below_the_block_is_what_was_there() {
        let text = "# mine\nlocal all all peer\n";
        assert_eq!(without(&format!("{BEGIN}\nlocal all all reject\n{END}\n{text}")), text);
        assert_eq!(without(text), text);
    }
}
