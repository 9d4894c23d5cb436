//! What model servers and their clients send to each other, as pure bytes and types.
//!
//! Nothing in this crate performs I/O or reads a clock: every function takes bytes, headers and the current time as
//! arguments and returns values. It knows dialects, never actors.
