//! Encryption of data at rest: [`Keyring`] seals pieces of data and opens them.

mod keyring;

pub use keyring::{BadKey, KEY_SIZE, Keyring, SealError, new_key};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
