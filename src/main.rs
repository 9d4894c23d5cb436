//! The `kebne` program.

fn main() {}
