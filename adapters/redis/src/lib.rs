//! What several gateways of Kebne share, in Redis or Valkey.
//!
//! Owns the connection and the scripts. What the scripts keep is decided elsewhere: the arithmetic of shares is that of `kebne-control`, as
//! in every other store of leases. Nothing here is on the path of a call.

#![doc = include_str!("../README.md")]

mod accounts;
mod answers;
mod blocking;
mod connection;
mod leases;
mod options;

pub use accounts::RedisAccounts;
pub use answers::RedisAnswers;
pub use connection::{RedisConnection, RedisFault};
pub use leases::RedisLeases;
pub use options::{Options, OptionsError};
