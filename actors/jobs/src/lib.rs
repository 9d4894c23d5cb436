//! Durable jobs: the queue, the actor that runs them, and the store in an `SQLite` file.
//!
//! [`Jobs`] is the handle. A job is a request in bytes that a [`Worker`] of the program carries out. This crate does not depend on HTTP.

mod counts;
pub mod erasure;
mod handle;
mod id;
mod model;
mod queue;
mod settings;
mod sqlite;

pub use counts::{Count, Counts};
pub use handle::{Delivered, Jobs, JobsParts, Work, Worker};
pub use kebne_seal::{BadKey, Keyring};
pub use model::{
    Batch, BatchCounts, Delivery, Ended, Job, JobError, Lease, Leased, Line, Needs, NewBatch,
    NewJob, Notice, Outcome, Page, PageQuery, Renewed, State, StoreError, Taken, Totals, WallClock,
};
pub use queue::{Answer, JobQueue};
pub use settings::{JobsSettings, LIFETIME_MAX};
pub use sqlite::Collecting;

#[cfg(test)]
mod tests;
