//! The simulator of the lane's control law: a fragile backend, its callers and an oracle in virtual time.
//!
//! It drives the same two state machines as the program, `kebne_control::Controller` and `kebne_control::Pool`. Laws
//! are evaluated here before they are used with a real backend. The simulator opens no socket and reads no clock; the
//! same seed gives the same table, bit by bit. [`script`] provides the same backends and callers to a program that has
//! sockets.

mod ablate;
mod agenda;
mod agree;
mod arrivals;
mod backend;
mod bench;
pub mod cli;
mod dice;
mod engines;
mod entrant;
mod gate;
mod gateway;
mod jobs;
mod laws;
mod ledger;
mod mixed;
mod number;
mod oracle;
mod plot;
mod random;
mod report;
mod run;
mod scale;
mod scenario;
mod score;
pub mod script;
mod shares;
mod suite;
mod table;
mod world;

#[cfg(test)]
mod tests;

/// Converts an index to the key of a random draw.
fn key(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}
