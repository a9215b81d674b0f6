//! Importing: what a node exports becomes the data of the nodes that stand by, whole or not at all.

mod hostile;
mod stands_by;
mod switch_back;
mod turns;
