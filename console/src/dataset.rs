//! `[[dataset]]` and its sources.
//!
//! A source's keys are read with this node's overrides in their place, so that a mistake in an override is shown where the
//! override stands. A recipe that is not built in is two programs of the administrator's, and has their keys.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::located::Section;
use crate::nearest::nearest;
use crate::node_file::{Command, Dataset, Files, Schedule, Settings, Source, Sqlite};
use crate::{alert, cron, databases, place, quantity};

/// Datasets without `every` or `at` are exported each hour.
const EVERY_DEFAULT: Duration = Duration::from_secs(3_600);
/// Each export is a run and a snapshot; more often they would crowd each other, and more rarely a clock's hour is meant.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(86_400);
const CACHE_DEFAULT: u64 = 1 << 30;
const LEVEL_DEFAULT: i64 = 2;
/// Names of recipes that are built in.
const BUILT_IN: [&str; 5] = ["files", "sqlite", "postgres", "mariadb", "mysql"];

/// This node's overrides: `source.DATASET.SOURCE`, by those two names.
pub(crate) struct Overrides<'a> {
    list: BTreeMap<(String, String), Section<'a>>,
}

impl<'a> Overrides<'a> {
    pub fn none() -> Overrides<'a> {
        Overrides { list: BTreeMap::new() }
    }

    pub fn read(node: &mut Section<'a>) -> Overrides<'a> {
        let mut list = BTreeMap::new();
        if let Some(sources) = node.section("source") {
            let mut datasets = Vec::new();
            for (dataset, section) in sources.named_sections() {
                let mut names = Vec::new();
                for (source, keys) in section.named_sections() {
                    names.push(source.clone());
                    list.insert((dataset.clone(), source), keys);
                }
                section.finish(&names.iter().map(String::as_str).collect::<Vec<_>>());
                datasets.push(dataset);
            }
            sources.finish(&datasets.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Overrides { list }
    }

    fn of(&self, dataset: &str, source: &str) -> Option<&Section<'a>> {
        self.list.get(&(dataset.to_owned(), source.to_owned()))
    }

    /// Notes overrides of what the file does not have: they would silently do nothing.
    pub fn finish(&self, datasets: &[Dataset]) {
        for ((dataset, source), section) in &self.list {
            let Some(found) = datasets.iter().find(|known| known.name == *dataset) else {
                let near = nearest(dataset, datasets.iter().map(|known| known.name.as_str()));
                section.wrong_here(format!("there is no dataset `{dataset}`{}", meant(near)));
                continue;
            };
            if !found.sources.iter().any(|known| known.name == *source) {
                let near = nearest(source, found.sources.iter().map(|known| known.name.as_str()));
                section.wrong_here(format!("dataset `{dataset}` has no source `{source}`{}", meant(near)));
            }
        }
    }
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// Reads one `[[dataset]]`; `sealed` is what holds without a word of its own.
pub(crate) fn read(mut section: Section<'_>, sealed: bool, overrides: &Overrides<'_>) -> Dataset {
    section.require("name", "name = \"shop\"");
    let name = section.parsed("name", place::name).unwrap_or_default();
    let schedule = schedule(&mut section);
    let jitter = section.parsed("jitter", jitter);
    let ping = section.parsed("ping", alert::url);
    // It may be written down, and cannot be switched off: a node that starts takes what is newer by epoch and sequence, of every dataset.
    section.parsed("when", |text| match text {
        "newest-wins" => Ok(()),
        _ => {
            Err(format!("`{text}` is not known; \"newest-wins\" is how it is for every dataset, by epoch and sequence and never by clocks"))
        }
    });
    let seal = section.boolean("seal").unwrap_or(sealed);
    let level = section.integer("level", -7, 19).unwrap_or(LEVEL_DEFAULT);
    let cache = section.size("cache").unwrap_or(CACHE_DEFAULT);
    section.require("source", "[[dataset.source]]");
    let found = section.sections("source");
    if found.as_ref().is_some_and(Vec::is_empty) {
        section.wrong("source", "must have one source at least");
    }
    let sources = sources(found.unwrap_or_default(), &name, overrides);
    section.finish(&[]);
    Dataset { name, schedule, jitter, ping, sources, seal, level: level as i32, cache }
}

fn schedule(section: &mut Section<'_>) -> Schedule {
    let every = section.duration("every");
    if every.is_some_and(|every| !EVERY.contains(&every)) {
        section.wrong("every", "must be from \"5s\" to \"24h\"; a longer rhythm is a cron expression, as at = \"0 3 * * 1\"");
    }
    let at = section.parsed("at", cron::check);
    if section.has("at") && section.has("every") {
        section.wrong("at", "stands beside `every`; only one of them can hold");
    }
    match (at, every) {
        (Some(at), _) => Schedule::At(at),
        (None, Some(every)) => Schedule::Every(every),
        (None, None) => Schedule::Every(EVERY_DEFAULT),
    }
}

/// "off", or the most by which a start may be moved.
fn jitter(text: &str) -> Result<Duration, String> {
    if text == "off" { Ok(Duration::ZERO) } else { quantity::duration(text).map_err(|what| format!("{what}, or \"off\"")) }
}

fn sources(found: Vec<Section<'_>>, dataset: &str, overrides: &Overrides<'_>) -> Vec<Source> {
    let mut headed = Vec::new();
    for mut section in found {
        section.require("recipe", "recipe = \"files\"");
        let recipe = section.parsed("recipe", place::name).unwrap_or_default();
        let name = section.parsed("name", place::name);
        headed.push((section, recipe, name));
    }
    let mut unnamed = BTreeMap::new();
    for (_, recipe, name) in &headed {
        *unnamed.entry(recipe.clone()).or_insert(0) += usize::from(name.is_none());
    }
    let mut list: Vec<Source> = Vec::new();
    for (section, recipe, name) in headed {
        if name.is_none() && unnamed[&recipe] > 1 && !recipe.is_empty() {
            section.wrong("name", format!("is missing; {} sources of recipe `{recipe}` cannot share its name", unnamed[&recipe]));
            continue;
        }
        let name = name.unwrap_or_else(|| recipe.clone());
        if list.iter().any(|other| other.name == name) && !name.is_empty() {
            section.wrong("name", format!("`{name}` is the name of another source of this dataset"));
            continue;
        }
        let settings = settings(section, dataset, &name, &recipe, overrides);
        list.push(Source { name, recipe, settings });
    }
    list
}

fn settings(section: Section<'_>, dataset: &str, name: &str, recipe: &str, overrides: &Overrides<'_>) -> Settings {
    let mut section = match overrides.of(dataset, name) {
        Some(over) => {
            for fixed in ["name", "recipe"] {
                over.refuse(fixed, "cannot differ from host to host: sources match by name and recipe");
            }
            section.overridden(over)
        }
        None => section,
    };
    for key in ["name", "recipe"] {
        section.has(key);
    }
    match recipe {
        "files" => files(section),
        "sqlite" => sqlite(section),
        "postgres" => databases::postgres(section),
        "mariadb" | "mysql" => databases::mysql(section),
        "" => Settings::Other(section.rest()),
        name => command(section, name),
    }
}

fn files(mut section: Section<'_>) -> Settings {
    section.require("paths", "paths = [\"/srv/shop\"]");
    let paths = section.paths("paths");
    if paths.as_ref().is_some_and(Vec::is_empty) {
        section.wrong("paths", "must have one path at least");
    }
    let paths = paths.unwrap_or_default();
    if let Some(twice) = paths.iter().enumerate().find_map(|(at, path)| paths[..at].contains(path).then_some(path)) {
        section.wrong("paths", format!("`{}` stands in it twice", twice.display()));
    }
    let exclude = section.strings("exclude").unwrap_or_default();
    let one_file_system = section.boolean("one_file_system").unwrap_or(false);
    section.finish(&[]);
    Settings::Files(Files { paths, exclude, one_file_system })
}

fn sqlite(mut section: Section<'_>) -> Settings {
    section.require("path", "path = \"/var/lib/shop/shop.db\"");
    let path = section.path("path").unwrap_or_default();
    if path.file_name().is_none() && !path.as_os_str().is_empty() {
        section.wrong("path", "must name the database file");
    }
    let drill = section.strings("drill").unwrap_or_default();
    section.finish(&[]);
    Settings::Sqlite(Sqlite { path, drill })
}

fn command(mut section: Section<'_>, name: &str) -> Settings {
    let folder = section.path("folder");
    let (export, import) = (section.program("export"), section.program("import"));
    let stream = section.boolean("stream").unwrap_or(false);
    let timeout = section.duration("timeout");
    // Programs whose name is nearly that of a built-in recipe must be meant, by a key that only programs have.
    if let Some(near) = nearest(name, BUILT_IN.into_iter())
        && !["folder", "export", "import"].into_iter().any(|key| section.has(key))
    {
        let what =
            format!("`{name}` is not built in; did you mean `{near}`? For programs of that name, say `folder` or `export` and `import`");
        section.wrong("recipe", what);
        return Settings::Other(section.rest());
    }
    section.finish(&[]);
    Settings::Command(Command { folder, export, import, stream, timeout })
}
