//! placeholder
#[derive(Debug)]
pub struct Command;
