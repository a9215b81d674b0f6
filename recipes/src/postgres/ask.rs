//! Questions to a server whose answers are rows of names and numbers: asked as one JSON text, so that what a newer server adds is no trouble.

use postgres::Client;
use serde::de::DeserializeOwned;

use super::connect::failed;
use crate::Error;

/// All rows of a query.
pub(super) fn rows<T: DeserializeOwned>(client: &mut Client, database: &str, query: &str) -> Result<Vec<T>, Error> {
    let query = format!("SELECT coalesce(json_agg(q), '[]')::text FROM ({query}) q");
    let row = client.query_one(&query, &[]).map_err(failed("ask", database))?;
    serde_json::from_str(row.get(0)).map_err(|error| Error::Answer { database: database.to_owned(), why: error.to_string() })
}

/// The one row of a query.
pub(super) fn row<T: DeserializeOwned>(client: &mut Client, database: &str, query: &str) -> Result<T, Error> {
    let found: Vec<T> = rows(client, database, query)?;
    let many = found.len();
    let [one] = <[T; 1]>::try_from(found)
        .map_err(|_| Error::Answer { database: database.to_owned(), why: format!("{many} rows instead of one") })?;
    Ok(one)
}

/// The first column of each row.
pub(super) fn names(client: &mut Client, database: &str, query: &str) -> Result<Vec<String>, Error> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    rows(client, database, query).map(|found: Vec<Named>| found.into_iter().map(|named| named.name).collect())
}
