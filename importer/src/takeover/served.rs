//! The databases of a node as its role wants them: guarded where it stands by, open to all where it is active.

use console::exit::Failure;
use console::node_file::{Dataset, NodeFile};

/// Everybody may write again.
pub fn lift(file: &NodeFile) -> Result<(), Failure> {
    for (dataset, source) in file.datasets.iter().flat_map(Dataset::with_sources) {
        let data = sources::recipe::data(source, &file.node.state, &dataset.name)?;
        if let Some(served) = data.served() {
            served.lift().map_err(|error| sources::recipe::failure(&source.name, error))?;
        }
    }
    Ok(())
}

/// Nobody but imports writes. What went wrong with one keeps no other from being guarded.
pub fn guard(file: &NodeFile) -> Vec<Failure> {
    let mut failed = Vec::new();
    for (dataset, source) in file.datasets.iter().flat_map(Dataset::with_sources) {
        match sources::recipe::data(source, &file.node.state, &dataset.name) {
            Ok(data) => {
                if let Some(Err(error)) = data.served().map(|served| served.guard()) {
                    failed.push(sources::recipe::failure(&source.name, error));
                }
            }
            Err(failure) => failed.push(failure),
        }
    }
    failed
}
