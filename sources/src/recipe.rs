//! A source of the node file as the recipe that handles it.
//!
//! The one place where the words of the configuration meet the recipes, which do not know each other. Each source has a
//! scratch folder of its own in the node's state; none is made before it is needed.

use console::exit::Failure;
use console::node_file::{self, Settings, Source};
use recipes::data::Data;
use recipes::{Command, Files, Mysql, Postgres, Sqlite, command, files, sqlite};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a drill asks of a source.
pub fn questions(source: &Source) -> &[String] {
    match &source.settings {
        Settings::Sqlite(found) => &found.drill,
        Settings::Postgres(found) => &found.databases.drill,
        Settings::Mysql(found) => &found.databases.drill,
        Settings::Files(_) | Settings::Command(_) | Settings::Other(_) => &[],
    }
}

/// Where a source's recipe may keep what it needs while it is at work.
fn scratch(state: &Path, dataset: &str, source: &str) -> PathBuf {
    state.join("datasets").join(dataset).join("scratch").join(source)
}

/// The recipe of a source.
pub fn data(source: &Source, state: &Path, dataset: &str) -> Result<Box<dyn Data>, Failure> {
    let scratch = scratch(state, dataset, &source.name);
    let made: Result<Box<dyn Data>, recipes::Error> = match &source.settings {
        Settings::Files(found) => Files::new(files::Settings {
            paths: found.paths.clone(),
            exclude: found.exclude.clone(),
            skip: vec![state.to_path_buf()],
            one_file_system: found.one_file_system,
        })
        .map(|data| Box::new(data) as _),
        Settings::Sqlite(found) => Sqlite::new(sqlite::Settings::new(found.path.clone(), scratch)).map(|data| Box::new(data) as _),
        Settings::Postgres(found) => Postgres::new(postgres(found, scratch)).map(|data| Box::new(data) as _),
        Settings::Mysql(found) => Mysql::new(mysql(found, scratch)).map(|data| Box::new(data) as _),
        Settings::Command(found) => {
            let words = |words: &Option<Vec<String>>| words.as_ref().map(|words| words.iter().map(OsString::from).collect());
            Command::new(command::Settings {
                name: source.recipe.clone(),
                folder: found.folder.clone().unwrap_or_else(|| command::FOLDER.into()),
                export: words(&found.export),
                import: words(&found.import),
                stream: found.stream,
                timeout: found.timeout.unwrap_or(command::TIMEOUT),
                scratch,
                dataset: dataset.into(),
                source: source.name.clone(),
            })
            .map(|data| Box::new(data) as _)
        }
        Settings::Other(_) => {
            let what = format!("dataset {dataset}: recipe {} is not known to this version", source.recipe);
            return Err(
                Failure::usage(what).hint("it knows: files, sqlite, postgres, mariadb, mysql, and programs of your own (docs/recipes.md)")
            );
        }
    };
    made.map_err(|error| failure(&source.name, error))
}

fn postgres(found: &node_file::Postgres, scratch: PathBuf) -> recipes::postgres::Settings {
    let defaults = recipes::postgres::Settings::new(found.host.clone(), scratch);
    let shared = &found.databases;
    recipes::postgres::Settings {
        port: shared.port.unwrap_or(defaults.port),
        user: shared.user.clone().unwrap_or(defaults.user),
        password_file: shared.password_file.clone(),
        databases: shared.names.clone(),
        exclude_databases: shared.exclude.clone(),
        schemas: found.schemas.clone(),
        exclude_schemas: found.exclude_schemas.clone(),
        exclude_tables: shared.exclude_tables.clone(),
        superusers: found.superusers.clone(),
        reader: found.reader.clone(),
        hba_file: found.hba_file.clone(),
        jobs: shared.jobs.unwrap_or(defaults.jobs),
        verify: match shared.verify {
            node_file::Verify::Full => recipes::postgres::Verify::Full,
            node_file::Verify::Sampled => recipes::postgres::Verify::Sampled,
            node_file::Verify::Counts => recipes::postgres::Verify::Counts,
        },
        scratch: defaults.scratch,
        host: defaults.host,
    }
}

fn mysql(found: &node_file::Mysql, scratch: PathBuf) -> recipes::mysql::Settings {
    use recipes::mysql::{Address, Verify};
    /// Where servers listen that were not told otherwise.
    const PORT: u16 = 3306;
    let (defaults, shared) = (recipes::mysql::Settings::new(scratch), &found.databases);
    let address = match (&found.host, &found.socket) {
        (Some(host), _) => Address::Network { host: host.clone(), port: shared.port.unwrap_or(PORT) },
        (None, Some(socket)) => Address::Socket(socket.clone()),
        (None, None) => defaults.address,
    };
    recipes::mysql::Settings {
        address,
        user: shared.user.clone().unwrap_or(defaults.user),
        password_file: shared.password_file.clone(),
        databases: shared.names.clone(),
        exclude: shared.exclude.clone(),
        exclude_tables: shared.exclude_tables.clone(),
        option_file: found.option_file.clone(),
        jobs: shared.jobs.unwrap_or(defaults.jobs),
        verify: if shared.verify == node_file::Verify::Counts { Verify::Counts } else { Verify::Full },
        scratch: defaults.scratch,
    }
}

/// An error of a recipe, with its chain and what can be done about it.
pub fn failure(source: &str, error: recipes::Error) -> Failure {
    let hint = error.hint();
    let what = format!("source {source}: {}", recipes::told(&error));
    let failure = match error.kind() {
        recipes::Kind::Refuse => Failure::refused(what),
        recipes::Kind::Retry => Failure::failed(what),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
