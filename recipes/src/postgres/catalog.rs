//! What a server and its databases have, as the catalogs say, inside the transaction that is exported.

use postgres::Client;
use serde::Deserialize;

use super::manifest::{Configuration, Database, Extension, Grant, Membership, Position, Role, Sequence, Table};
use super::{Inner, ask, connect, swap};
use crate::data::compare_paths;
use crate::rows::Rows;
use crate::{Error, escape};

/// A file holds so many blocks of its table: 8 MiB.
const RANGE_BLOCKS: u64 = 1024;
/// From this version on a server goes to a block without reading those before it.
const RANGES_SINCE: u32 = 140_000;
pub(super) const OLDEST: u32 = 120_000;

/// Where to ask about the server as a whole, and from where databases are renamed. It is never exported itself.
pub(super) const ANY: &str = "postgres";

pub(super) fn version(client: &mut Client, database: &str) -> Result<u32, Error> {
    #[derive(Deserialize)]
    struct Version {
        number: u32,
    }
    let found: Version = ask::row(client, database, "SELECT current_setting('server_version_num')::int AS number")?;
    Ok(found.number)
}

/// The databases to be exported, in the order of their folders.
pub(super) fn databases(inner: &Inner, client: &mut Client) -> Result<Vec<String>, Error> {
    let all = ask::names(client, ANY, "SELECT datname AS name FROM pg_database WHERE datallowconn AND NOT datistemplate")?;
    let settings = &inner.settings;
    let mut wanted: Vec<String> = if settings.databases.is_empty() {
        let own = |name: &String| name == ANY || swap::is_aside(name) || settings.exclude_databases.contains(name);
        all.into_iter().filter(|name| !own(name)).collect()
    } else {
        if let Some(absent) = settings.databases.iter().find(|name| !all.contains(name)) {
            return Err(Error::NoDatabase { database: absent.clone() });
        }
        settings.databases.clone()
    };
    wanted.sort_by(|a, b| compare_paths(escape::name(a).as_bytes(), escape::name(b).as_bytes()));
    wanted.dedup();
    Ok(wanted)
}

#[derive(Deserialize)]
struct Properties {
    owner: String,
    encoding: String,
    collate: String,
    ctype: String,
    provider: Option<String>,
    locale: Option<String>,
    collation_version: Option<String>,
    connection_limit: i32,
    comment: Option<String>,
    grants: Option<Vec<Grant>>,
    large_objects: u64,
    lsn: Option<String>,
}

const PROPERTIES: &str = "SELECT pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, datcollate AS collate, datctype AS ctype, \
     CASE to_jsonb(d)->>'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' WHEN 'c' THEN 'libc' END AS provider, \
     coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale') AS locale, to_jsonb(d)->>'datcollversion' AS collation_version, \
     datconnlimit AS connection_limit, shobj_description(d.oid, 'pg_database') AS comment, \
     CASE WHEN datacl IS NOT NULL THEN coalesce((SELECT json_agg(json_build_object('to', CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END, \
       'privilege', privilege_type, 'grantable', is_grantable) ORDER BY at) FROM aclexplode(datacl) WITH ORDINALITY a (grantor, grantee, privilege_type, is_grantable, at)), '[]') END AS grants, \
     (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects, \
     CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END AS lsn \
     FROM pg_database d WHERE datname = current_database()";

const CONFIGURATION: &str = "SELECT CASE WHEN setrole <> 0 THEN pg_get_userbyid(setrole) END AS role, setconfig AS settings FROM pg_db_role_setting \
     WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY setrole <> 0, pg_get_userbyid(setrole)";

/// What belongs to an extension is made by it; only rows that it asks to be kept are ours.
const OWN: &str = "NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";
const USERS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

fn tables_query() -> String {
    format!(
        "SELECT n.nspname AS schema, c.relname AS name, x.filter, a.amname IS NOT DISTINCT FROM 'heap' AS heap, \
         ceil(pg_relation_size(c.oid)::numeric / current_setting('block_size')::int)::bigint AS blocks, \
         coalesce((SELECT json_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''), '[]') AS columns, \
         coalesce((WITH RECURSIVE up (oid) AS (SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid UNION SELECT inhparent FROM pg_inherits JOIN up ON inhrelid = up.oid) \
           SELECT json_agg(un.nspname || '.' || u.relname ORDER BY un.nspname COLLATE \"C\", u.relname COLLATE \"C\") FROM up JOIN pg_class u ON u.oid = up.oid \
           JOIN pg_namespace un ON un.oid = u.relnamespace), '[]') AS within \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am a ON a.oid = c.relam \
         LEFT JOIN LATERAL (SELECT coalesce(e.extcondition[i], '') AS filter FROM pg_extension e, generate_subscripts(e.extconfig, 1) i \
           WHERE e.extconfig[i] = c.oid) x ON true \
         WHERE c.relkind = 'r' AND c.relpersistence IN ('p', 'u') AND {USERS} AND (x.filter IS NOT NULL OR {OWN})"
    )
}

fn sequences_query() -> String {
    format!(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {USERS} AND ({OWN} OR EXISTS (SELECT 1 FROM pg_extension e WHERE c.oid = ANY (e.extconfig))) \
         ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
    )
}

#[derive(Deserialize)]
struct Found {
    schema: String,
    name: String,
    filter: Option<String>,
    heap: bool,
    blocks: u64,
    columns: Vec<String>,
    within: Vec<String>,
}

impl Inner {
    fn has_schema(&self, schema: &str) -> bool {
        let settings = &self.settings;
        let among = |list: &[String]| list.iter().any(|name| name == schema);
        (settings.schemas.is_empty() || among(&settings.schemas)) && !among(&settings.exclude_schemas)
    }

    fn has_rows_of(&self, found: &Found) -> bool {
        let name = format!("{}.{}", found.schema, found.name);
        self.has_schema(&found.schema) && !self.settings.exclude_tables.contains(&name)
    }
}

/// A database as the transaction of this connection sees it; its tables are locked against changes of their definition, and in the order of their folders.
pub(super) fn database(inner: &Inner, client: &mut Client, name: &str, server: u32) -> Result<Database, Error> {
    let tables = tables(inner, client, name, server)?;
    lock(client, name, &tables)?;
    let Properties {
        owner,
        encoding,
        collate,
        ctype,
        provider,
        locale,
        collation_version,
        connection_limit,
        comment,
        grants,
        large_objects,
        lsn,
    } = ask::row(client, name, PROPERTIES)?;
    let configuration: Vec<Configuration> = ask::rows(client, name, CONFIGURATION)?;
    let extensions: Vec<Extension> =
        ask::rows(client, name, "SELECT extname AS name, extversion AS version FROM pg_extension ORDER BY extname COLLATE \"C\"")?;
    Ok(Database {
        name: name.to_owned(),
        folder: escape::name(name),
        owner,
        encoding,
        collate,
        ctype,
        provider,
        locale,
        collation_version,
        connection_limit,
        comment,
        grants,
        configuration,
        extensions,
        tables,
        sequences: sequences(inner, client, name)?,
        large_objects: if inner.settings.schemas.is_empty() { large_objects } else { 0 },
        position: Position { lsn },
    })
}

fn tables(inner: &Inner, client: &mut Client, database: &str, server: u32) -> Result<Vec<Table>, Error> {
    let found: Vec<Found> = ask::rows(client, database, &tables_query())?;
    let mut tables: Vec<Table> = found
        .into_iter()
        .filter(|found| inner.has_rows_of(found))
        .map(|found| {
            let ranged = found.heap && found.filter.is_none() && server >= RANGES_SINCE;
            let last = if ranged { found.blocks.saturating_sub(1) / RANGE_BLOCKS } else { 0 };
            Table {
                folder: format!("{}/{}", escape::name(&found.schema), escape::name(&found.name)),
                schema: found.schema,
                name: found.name,
                columns: found.columns,
                within: found.within,
                filter: found.filter.filter(|filter| !filter.is_empty()),
                ranges: (0..=last).map(|range| range * RANGE_BLOCKS).collect(),
                rows: Rows::default(),
                bytes: 0,
            }
        })
        .collect();
    tables.sort_by(|a, b| compare_paths(a.folder.as_bytes(), b.folder.as_bytes()));
    Ok(tables)
}

/// As the server's own tool does, so that no table is dropped or emptied under our eyes.
fn lock(client: &mut Client, database: &str, tables: &[Table]) -> Result<(), Error> {
    for some in tables.chunks(200) {
        let names: Vec<String> = some
            .iter()
            .map(|table| format!("ONLY {}", connect::qualified(&table.schema, &table.name)))
            .collect();
        client
            .batch_execute(&format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")))
            .map_err(connect::failed("lock the tables of", database))?;
    }
    Ok(())
}

fn sequences(inner: &Inner, client: &mut Client, database: &str) -> Result<Vec<Sequence>, Error> {
    #[derive(Deserialize)]
    struct Named {
        schema: String,
        name: String,
    }
    let found: Vec<Named> = ask::rows(client, database, &sequences_query())?;
    let found: Vec<Named> = found.into_iter().filter(|found| inner.has_schema(&found.schema)).collect();
    let mut sequences = Vec::with_capacity(found.len());
    for some in found.chunks(200) {
        let of = |named: &Named| {
            let (schema, name) = (connect::literal(&named.schema), connect::literal(&named.name));
            format!(
                "SELECT {schema} AS schema, {name} AS name, last_value AS last, is_called AS called FROM {}",
                connect::qualified(&named.schema, &named.name)
            )
        };
        sequences.extend(ask::rows::<Sequence>(client, database, &some.iter().map(of).collect::<Vec<_>>().join(" UNION ALL "))?);
    }
    Ok(sequences)
}

const ROLES: &str = "rolname AS name, rolsuper AS superuser, rolinherit AS inherit, rolcreaterole AS create_role, rolcreatedb AS create_database, \
     rolcanlogin AS login, rolreplication AS replication, rolbypassrls AS bypass_row_security, rolconnlimit AS connection_limit, \
     rolvaliduntil::text AS valid_until, shobj_description(r.oid, 'pg_authid') AS comment, \
     coalesce((SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = 0 AND setrole = r.oid), '{}') AS settings";

/// The server's roles, with the verifiers of their passwords where we may see them.
pub(super) fn roles(client: &mut Client) -> Result<Vec<Role>, Error> {
    #[derive(Deserialize)]
    struct May {
        may: bool,
    }
    let May { may } = ask::row(client, ANY, "SELECT has_table_privilege('pg_authid', 'SELECT') AS may")?;
    let (from, password) = if may { ("pg_authid", "rolpassword") } else { ("pg_roles", "NULL::text") };
    let own = "rolname !~ '^pg_'";
    ask::rows(client, ANY, &format!("SELECT {ROLES}, {password} AS password FROM {from} r WHERE {own} ORDER BY rolname COLLATE \"C\""))
}

pub(super) fn memberships(client: &mut Client) -> Result<Vec<Membership>, Error> {
    let query = "SELECT pg_get_userbyid(roleid) AS role, pg_get_userbyid(member) AS member, bool_or(admin_option) AS admin FROM pg_auth_members \
                 WHERE pg_get_userbyid(member) !~ '^pg_' GROUP BY roleid, member";
    let mut all: Vec<Membership> = ask::rows(client, ANY, query)?;
    all.sort();
    Ok(all)
}
