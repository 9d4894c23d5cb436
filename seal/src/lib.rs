//! Encryption of data at rest: [`Keyring`] seals pieces of data and opens them, and [`OwnerKeys`] gives each owner a key of its own.

mod keyring;
mod master_key;
mod owner_keys;

pub use keyring::{BadKey, KEY_SIZE, Keyring, SealError, new_key};
pub use master_key::{SIGNATURE_SIZE, WrongKey, compare_check, new_check};
pub use owner_keys::{DamagedKey, OwnerKeys, WrapError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
