//! Counts of the events of jobs since the start.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A job was queued.
    Queued,
    /// A job succeeded.
    Succeeded,
    /// A job failed.
    Failed,
    /// A job was cancelled.
    Cancelled,
    /// The time of a job has passed.
    Expired,
    /// An attempt ended and the job waits again.
    Again,
    /// The lease of a job passed, and it waits again.
    Lost,
    /// A result was refused because its lease had passed.
    Stale,
    /// A notice was delivered.
    Delivered,
    /// An attempt to deliver a notice failed.
    NotDelivered,
    /// A notice was given up.
    GivenUp,
}

/// The counts.
#[derive(Debug, Default)]
pub struct Counts([AtomicU64; Count::ALL.len()]);

impl Count {
    /// All that is counted.
    pub const ALL: [Self; 11] = [
        Self::Queued,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Again,
        Self::Lost,
        Self::Stale,
        Self::Delivered,
        Self::NotDelivered,
        Self::GivenUp,
    ];

    /// Returns the name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Again => "again",
            Self::Lost => "lost",
            Self::Stale => "stale",
            Self::Delivered => "delivered",
            Self::NotDelivered => "not_delivered",
            Self::GivenUp => "given_up",
        }
    }
}

impl Counts {
    /// Adds to a count.
    pub fn add(&self, count: Count, more: u64) {
        self.0[count as usize].fetch_add(more, Relaxed);
    }

    /// Returns all counts.
    pub fn all(&self) -> impl Iterator<Item = (Count, u64)> {
        let counts = Count::ALL.into_iter().zip(&self.0);
        counts.map(|(count, value)| (count, value.load(Relaxed)))
    }
}
