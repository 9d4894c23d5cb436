//! Keys, what they use, and their budgets: the actor [`Accountant`], the traits of its stores, and the default store in an
//! `SQLite` file.
//!
//! [`Accounts`] is the handle: it reserves and settles without waiting, and changes keys through the actor. The decisions
//! are those of [`kebne_quota::Ledger`]. This crate does not depend on HTTP.

mod accountant;
mod accounts;
mod book;
mod groups;
mod health;
mod key;
mod reservation;
mod settings;
mod sqlite;
pub mod store;

pub use accountant::Accountant;
pub use accounts::{Accounts, Denied, WallClock};
pub use health::AccountHealth;
pub use key::{KeySpec, OldHash, StoredKey};
pub use reservation::Reservation;
pub use settings::{AccountsSettings, GroupSettings};
pub use sqlite::{SqlitePlace, SqliteStore};
pub use store::{AccountStore, KeyStore, QuotaStore, StoreError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
