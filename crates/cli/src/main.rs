//! The `calotype` command.
fn main() {}
