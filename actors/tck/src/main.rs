//! Runs the conformance suite against one library or all, and prints the matrix.

fn main() {}
