//! Whether an entry is what it was.

use crate::entry::{Content, Entry, Node};
use crate::extent::List;

pub fn content_list(entry: &Entry) -> List {
    match &entry.node {
        Node::File(content) => content.list.clone(),
        _ => Default::default(),
    }
}

pub fn same_content(entry: &Entry, content: &Content) -> bool {
    matches!(&entry.node, Node::File(known) if known.len == content.len && known.digest == content.digest)
}

pub fn same_list(before: &Entry, after: &Entry) -> bool {
    match (&before.node, &after.node) {
        (Node::File(before), Node::File(after)) => before.len == after.len && before.digest == after.digest && before.list == after.list,
        _ => false,
    }
}
