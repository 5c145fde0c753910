//! The puna command.
fn main() {}
