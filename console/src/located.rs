//! Reading TOML so that every mistake keeps its place: file, line, key.
//!
//! A [`Section`] is one table; each question about a key marks the key as known, and [`Section::finish`] reports what nobody
//! asked for, with the nearest key that was. Mistakes are gathered, never thrown: a person who made three is told three. It
//! does not decide what a file means; that is `node_file`'s and `pull_backup_file`'s.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::nearest::nearest;
use crate::quantity;

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// From 1; the line on which the key or its value stands.
    pub line: usize,
    /// Full name of the key, as `dataset.source.paths`; empty when the text is no TOML at all.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

/// All mistakes of one file, by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    pub path: PathBuf,
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        let separator = match self.list.len() {
            1 => ": ",
            n => {
                write!(f, " has {n} mistakes:")?;
                "\n  "
            }
        };
        for Mistake { line, key, what } in &self.list {
            let colon = if key.is_empty() { "" } else { ": " };
            write!(f, "{separator}line {line}: {key}{colon}{what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The text under reading and what was found wrong in it.
pub(crate) struct Text<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Text<'a> {
    pub fn new(text: &'a str) -> Text<'a> {
        Text { text, mistakes: RefCell::new(Vec::new()) }
    }

    /// The whole file as a section; what is no TOML is noted, and the rest read all the same.
    pub fn root(&'a self) -> Section<'a> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let span = error.span().unwrap_or_default();
            let words = self.text.get(span.clone()).filter(|words| words.len() < 40 && error.message().contains("key"));
            let words = words.map_or_else(String::new, |words| format!(": `{words}`"));
            self.note(span.start, String::new(), error.message().trim_end().replace('\n', ", ") + &words);
        }
        Section {
            text: self,
            path: String::new(),
            at: 0,
            table: Rc::new(table.into_inner()),
            moved: BTreeMap::new(),
            known: Vec::new(),
        }
    }

    fn note(&self, at: usize, key: String, what: String) {
        let line = self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        self.mistakes.borrow_mut().push(Mistake { line, key, what });
    }

    /// Ends the reading: all mistakes by line, or none.
    pub fn finish(self, path: &Path) -> Result<(), Mistakes> {
        let mut list = self.mistakes.into_inner();
        // Behind broken syntax keys seem to be missing that are not.
        if list.iter().any(|mistake| mistake.key.is_empty()) {
            list.retain(|mistake| mistake.key.is_empty());
        }
        list.sort_by_key(|mistake| mistake.line);
        list.dedup();
        if list.is_empty() { Ok(()) } else { Err(Mistakes { path: path.to_owned(), list }) }
    }
}

/// One table of the file, and which of its keys were asked for.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    text: &'a Text<'a>,
    path: String,
    at: usize,
    table: Rc<DeTable<'a>>,
    /// Keys that stand elsewhere in the file (a node's overrides), with their full names.
    moved: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Full name of a key of this section.
    fn name_of(&self, key: &str) -> String {
        match self.moved.get(key) {
            Some(name) => name.clone(),
            None if self.path.is_empty() => key.to_owned(),
            None => format!("{}.{key}", self.path),
        }
    }

    fn place_of(&self, key: &str) -> usize {
        self.table
            .get_key_value(key)
            .map_or(self.at, |(name, value)| if self.moved.contains_key(key) { value.span() } else { name.span() }.start)
    }

    /// Notes that something is wrong with `key`, present or missing.
    pub fn wrong(&self, key: &str, what: impl Into<String>) {
        self.text.note(self.place_of(key), self.name_of(key), what.into());
    }

    /// Notes that something is wrong with the section as a whole.
    pub fn wrong_here(&self, what: impl Into<String>) {
        self.text.note(self.at, self.path.clone(), what.into());
    }

    /// Notes `what` if `key` is there.
    pub fn refuse(&self, key: &str, what: &str) {
        if self.table.contains_key(key) {
            self.wrong(key, what);
        }
    }

    /// Is the key there? Marks it as known.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.known.push(key);
        self.table.contains_key(key)
    }

    fn get<T>(&mut self, key: &'static str, expected: &str, read: impl FnOnce(&Spanned<DeValue<'a>>) -> Option<T>) -> Option<T> {
        self.known.push(key);
        let table = Rc::clone(&self.table);
        let value = table.get(key)?;
        let found = read(value);
        if found.is_none() {
            self.wrong(key, format!("expected {expected}, found {}", kind(value.get_ref())));
        }
        found
    }

    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.get(key, "text in quotes", |value| value.get_ref().as_str().map(str::to_owned))
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.get(key, "true or false", |value| value.get_ref().as_bool())
    }

    pub fn integer(&mut self, key: &'static str, least: i64, most: i64) -> Option<i64> {
        let number = self.get(key, "a whole number", |value| integer(value.get_ref()))?;
        let fits = (least..=most).contains(&number);
        if !fits {
            self.wrong(key, format!("must be from {least} to {most}, not {number}"));
        }
        fits.then_some(number)
    }

    pub fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        let items = self.list(key, "a list of texts, as [\"...\"]")?;
        let texts: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
        if texts.is_none() {
            self.wrong(key, "expected a list of texts, found something else in the list");
        }
        texts
    }

    pub fn integers(&mut self, key: &'static str, least: i64, most: i64) -> Option<Vec<i64>> {
        let items = self.list(key, "a list of whole numbers, as [80, 443]")?;
        let fits = |number: &i64| (least..=most).contains(number);
        let numbers: Option<Vec<i64>> = items.iter().map(|item| integer(item.get_ref()).filter(fits)).collect();
        if numbers.is_none() {
            self.wrong(key, format!("expected whole numbers from {least} to {most}, found something else in the list"));
        }
        numbers
    }

    fn list(&mut self, key: &'static str, expected: &str) -> Option<Vec<Spanned<DeValue<'a>>>> {
        self.get(key, expected, |value| Some(value.get_ref().as_array()?.iter().cloned().collect()))
    }

    /// A program by its absolute path, alone or with its arguments.
    pub fn program(&mut self, key: &'static str) -> Option<Vec<String>> {
        let words = self.get(key, "a program, as \"/path\" or [\"/path\", \"argument\"]", |value| match value.get_ref() {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(list) => list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect(),
            _ => None,
        })?;
        let found = words.first().map_or(Err("must name a program".into()), |first| absolute(first));
        found.map(|_| words).map_err(|what| self.wrong(key, what)).ok()
    }

    /// Text that `read` understands; its complaint becomes the mistake.
    pub fn parsed<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.string(key)?;
        read(&text).map_err(|what| self.wrong(key, what)).ok()
    }

    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.parsed(key, quantity::duration)
    }

    pub fn size(&mut self, key: &'static str) -> Option<u64> {
        self.parsed(key, quantity::size)
    }

    /// An absolute path.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.parsed(key, absolute)
    }

    pub fn paths(&mut self, key: &'static str) -> Option<Vec<PathBuf>> {
        let list = self.strings(key)?;
        let read: Vec<Option<PathBuf>> = list.iter().map(|text| absolute(text).map_err(|what| self.wrong(key, what)).ok()).collect();
        read.into_iter().collect()
    }

    /// Notes that `key` is missing, unless it is there.
    pub fn require(&self, key: &str, example: &str) {
        if !self.table.contains_key(key) {
            self.wrong(key, format!("is missing; write it as {example}"));
        }
    }

    pub fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let name = self.name_of(key);
        let (text, at) = (self.text, self.place_of(key));
        self.get(key, &format!("a table, as [{name}]"), |value| below(text, name.clone(), at, value.get_ref()))
    }

    pub fn sections(&mut self, key: &'static str) -> Option<Vec<Section<'a>>> {
        let name = self.name_of(key);
        let text = self.text;
        self.get(key, &format!("a list of tables, as [[{name}]]"), |value| {
            value
                .get_ref()
                .as_array()?
                .iter()
                .map(|item| below(text, name.clone(), item.span().start, item.get_ref()))
                .collect()
        })
    }

    /// The tables among the keys that nobody asked for: names that the administrator chose.
    pub fn named_sections(&self) -> Vec<(String, Section<'a>)> {
        let unasked = self.table.iter().filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()));
        unasked
            .filter_map(|(key, value)| {
                Some((key.get_ref().to_string(), below(self.text, self.name_of(key.get_ref()), key.span().start, value.get_ref())?))
            })
            .collect()
    }

    /// Each remaining key must be a whole number: names that the administrator chose.
    pub fn named_integers(&self, least: i64, most: i64) -> BTreeMap<String, i64> {
        let mut list = BTreeMap::new();
        for (key, value) in self.table.iter() {
            match integer(value.get_ref()) {
                Some(number) if (least..=most).contains(&number) => drop(list.insert(key.get_ref().to_string(), number)),
                Some(number) => self.wrong(key.get_ref(), format!("must be from {least} to {most}, not {number}")),
                None => self.wrong(key.get_ref(), format!("expected a whole number, found {}", kind(value.get_ref()))),
            }
        }
        list
    }

    /// Each remaining key must be a size: names that the administrator chose.
    pub fn named_sizes(&self) -> BTreeMap<String, u64> {
        let mut list = BTreeMap::new();
        for (key, value) in self.table.iter() {
            match value.get_ref().as_str().map(quantity::size) {
                Some(Ok(size)) => drop(list.insert(key.get_ref().to_string(), size)),
                Some(Err(what)) => self.wrong(key.get_ref(), what),
                None => self.wrong(key.get_ref(), format!("expected a size, as \"1GiB\", found {}", kind(value.get_ref()))),
            }
        }
        list
    }

    /// This section with the keys of `over` in place of its own.
    pub fn overridden(&self, over: &Section<'a>) -> Section<'a> {
        let mut table = (*self.table).clone();
        let mut moved = self.moved.clone();
        for (key, value) in over.table.iter() {
            table.remove(key.get_ref().as_ref());
            table.insert(key.clone(), value.clone());
            moved.insert(key.get_ref().to_string(), over.name_of(key.get_ref()));
        }
        Section {
            text: self.text,
            path: self.path.clone(),
            at: self.at,
            table: Rc::new(table),
            moved,
            known: Vec::new(),
        }
    }

    /// What was not asked for, as it stands; for keys that another part of the program will read.
    pub fn rest(&self) -> toml::Table {
        let unasked = self.table.iter().filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()));
        unasked.map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref()))).collect()
    }

    /// Notes each key that nobody asked for, with the nearest one that somebody did. Names among `also` count as known.
    pub fn finish(self, also: &[&str]) {
        for (key, _) in self.table.iter() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) && !also.contains(&name) {
                let near = nearest(name, self.known.iter().copied());
                let what = match near {
                    Some(near) => format!("unknown key; did you mean `{near}`?"),
                    None if self.known.is_empty() => "must be a table".into(),
                    None => format!("unknown key; known here: {}", self.known_list()),
                };
                self.wrong(name, what);
            }
        }
    }

    fn known_list(&self) -> String {
        let mut list = self.known.clone();
        list.sort_unstable();
        list.dedup();
        list.join(", ")
    }
}

fn below<'a>(text: &'a Text<'a>, path: String, at: usize, value: &DeValue<'a>) -> Option<Section<'a>> {
    let table = value.as_table()?.clone();
    Some(Section { text, path, at, table: Rc::new(table), moved: BTreeMap::new(), known: Vec::new() })
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(format!("`{text}` must be an absolute path, beginning with /"));
    }
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if climbs { Err(format!("`{text}` must not contain `..`")) } else { Ok(path.to_owned()) }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(number) if i64::from_str_radix(number.as_str(), number.radix()).is_err() => "a number that is too large",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value without its places. A number too large for TOML's own bounds stays text, for its reader to refuse.
fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => integer(value).map_or_else(|| toml::Value::String(number.to_string()), toml::Value::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Float),
        DeValue::Boolean(set) => toml::Value::Boolean(*set),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(list) => toml::Value::Array(list.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(table) => {
            toml::Value::Table(table.iter().map(|(key, item)| (key.get_ref().to_string(), plain(item.get_ref()))).collect())
        }
    }
}
