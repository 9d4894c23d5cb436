//! Keys, what they use, and their budgets: the actor [`Accountant`], the traits of its stores, and the default store in an
//! `SQLite` file.
//!
//! [`Accounts`] is the handle: it reserves and settles without waiting, and changes keys through the actor. The decisions
//! are those of [`kebne_quota::Ledger`]. This crate does not depend on HTTP.

mod accountant;
mod accounts;
mod book;
#[cfg(any(test, feature = "testkit"))]
pub mod contract;
mod groups;
mod health;
mod key;
mod local;
mod reservation;
mod settings;
mod sharing;
mod sqlite;
pub mod store;

pub use accountant::Accountant;
pub use accounts::{Accounts, Denied, WallClock};
pub use health::AccountHealth;
pub use kebne_quota::{Ask, Grant, SharedAccount};
pub use key::{KeySpec, OldHash, StoredKey};
pub use local::LocalStore;
pub use reservation::Reservation;
pub use settings::{AccountsSettings, AccountsStore, GroupSettings};
pub use sharing::{BlocksState, OpenShared, SharedHealth, Sharing};
pub use sqlite::{SqlitePlace, SqliteStore};
pub use store::{AccountStore, BlockStore, KeyStore, QuotaStore, SharedStore, StoreError, Used};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
