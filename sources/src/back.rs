//! Taking back the last import of a dataset: what was before it is the data again, of all its sources or of none.

use crate::import::Broken;
use crate::recipe;
use console::exit::Failure;
use console::node_file::Dataset;
use recipes::data::{Data, Finding};
use std::path::Path;

/// Takes back each source. When one cannot be, those before it get back what they had.
pub fn back(dataset: &Dataset, state: &Path) -> Result<Vec<(String, Finding)>, Broken> {
    let mut taken: Vec<(&str, Box<dyn Data>)> = Vec::new();
    let mut found = Vec::new();
    let all = dataset.sources.iter().rev().map(|source| Ok((source, recipe::data(source, state, &dataset.name)?)));
    // What cannot even be made is found out before anything is taken back.
    for (source, data) in all.collect::<Result<Vec<_>, Failure>>()? {
        match data.rollback() {
            Ok(findings) => found.extend(findings.into_iter().map(|finding| (source.name.clone(), finding))),
            Err(error) => return Err(again(recipe::failure(&source.name, error), &taken)),
        }
        taken.push((&source.name, data));
    }
    Ok(found)
}

/// A rollback taken back is an import again.
fn again(failure: Failure, taken: &[(&str, Box<dyn Data>)]) -> Broken {
    let failed = taken
        .iter()
        .rev()
        .filter_map(|(name, data)| data.rollback().err().map(|error| recipe::failure(name, error).to_string()));
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() {
        return failure.into();
    }
    let what = format!("{failure}; and the others are taken back already: {}", failed.join("; "));
    Broken {
        failure: Failure::failed(what)
            .hint("the sources of this dataset are of different snapshots now; import again before anything uses them"),
        mixed: true,
    }
}
