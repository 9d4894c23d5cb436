//! What the queue holds, and the errors.

pub(crate) mod held;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kebne_actors::AskError;
use serde::{Deserialize, Serialize};

/// Returns milliseconds of Unix time.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It waits.
    Queued,
    /// A process has a lease of it.
    Running,
    /// It has the result that was wanted.
    Succeeded,
    /// It has ended without the result that was wanted.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It was not carried out in its time.
    Expired,
}

impl State {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Returns the name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Returns the state with a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Returns `true` if the job stays in this state.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A job that is to be queued.
#[derive(Clone, Debug, Default)]
pub struct NewJob {
    /// The request, which only the worker reads.
    pub request: Vec<u8>,
    /// The name by which a batch knows the job; empty outside of batches.
    pub label: String,
    /// The priority among the jobs; 0 is carried out first.
    pub priority: u8,
    /// The time within which it must begin and end; bounded by [`LIFETIME_MAX`](crate::settings::LIFETIME_MAX).
    pub lifetime: Duration,
    /// A digest of the key with which the same request is sent once more without being queued twice.
    pub idempotency: Option<String>,
    /// Where a notice of its end is sent, which only the deliverer reads.
    pub notify: Option<String>,
}

/// A job as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The id.
    pub id: String,
    /// The state.
    pub state: State,
    /// The priority among the jobs.
    pub priority: u8,
    /// When it was queued, in milliseconds of Unix time.
    pub created: u64,
    /// When it is given up if it has not ended.
    pub expires: u64,
    /// When it is tried next, if it waits.
    pub due: u64,
    /// When it was tried first.
    pub started: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// The attempts that have begun and that count.
    pub attempts: u32,
    /// `true` if its cancellation was asked for.
    pub is_cancelling: bool,
    /// The jobs of its owner that are carried out before it; 0 if it does not wait.
    pub ahead: u64,
}

/// A lease of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The number of the job.
    pub number: i64,
    /// The fencing number: it grows with each lease of the job.
    pub fence: i64,
}

/// A job that is to be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The lease.
    pub lease: Lease,
    /// The id.
    pub id: String,
    /// The owner.
    pub owner: String,
    /// The request.
    pub request: Vec<u8>,
    /// The priority among the jobs.
    pub priority: u8,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// When it is given up, in milliseconds of Unix time.
    pub expires: u64,
}

/// What a lease is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The most jobs.
    pub most: usize,
    /// The most jobs of one owner that run at once.
    pub per_owner: u64,
    /// The time until the lease passes.
    pub lease: Duration,
    /// The attempts after which a job whose leases have passed is given up.
    pub attempts_max: u32,
}

/// What was leased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The jobs.
    pub jobs: Vec<Leased>,
    /// The jobs whose time has passed, or which were given up, meanwhile.
    pub ended: Vec<Ended>,
    /// The jobs whose leases have passed, and which wait again.
    pub lost: u64,
    /// When there is more to take, in milliseconds of Unix time.
    pub next: Option<u64>,
}

/// A job that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The id.
    pub id: String,
    /// The state.
    pub state: State,
}

/// The state of a lease that was to be prolonged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It is prolonged.
    Held,
    /// It is prolonged, and the job is to be cancelled.
    Cancelling,
    /// It has passed, or the job is gone: its result would be refused.
    Lost,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The result that was wanted.
    Succeeded(Vec<u8>),
    /// Another result, which is final.
    Failed(Vec<u8>),
    /// The job is to be tried again.
    Again {
        /// After this time.
        after: Duration,
        /// `true` if the attempt counts among those that a job has.
        counts: bool,
        /// The result of the job if this was its last attempt.
        result: Vec<u8>,
    },
    /// The attempt was ended because the job is cancelled.
    Cancelled,
}

/// A page of a list, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The most items.
    pub limit: usize,
    /// The id of the item before the first one.
    pub after: Option<String>,
}

/// The items of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// `true` if there are more.
    pub has_more: bool,
}

/// A batch that is to be queued.
#[derive(Clone, Debug, Default)]
pub struct NewBatch {
    /// What the program knows of it.
    pub details: Vec<u8>,
    /// Its jobs, in order.
    pub jobs: Vec<NewJob>,
    /// The time within which it must end.
    pub lifetime: Duration,
    /// Where a notice of its end is sent.
    pub notify: Option<String>,
}

/// A set of jobs that ends when all of them have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The id.
    pub id: String,
    /// What the program knows of it.
    pub details: Vec<u8>,
    /// When it was queued, in milliseconds of Unix time.
    pub created: u64,
    /// When its jobs are given up.
    pub expires: u64,
    /// When its first job began.
    pub started: Option<u64>,
    /// When its cancellation was asked for.
    pub cancelling: Option<u64>,
    /// When all its jobs had ended, as far as it was seen.
    pub finalizing: Option<u64>,
    /// When its results were collected.
    pub ended: Option<u64>,
    /// The states of its jobs.
    pub counts: BatchCounts,
}

/// The numbers of jobs of a batch by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// All of them.
    pub total: u64,
    /// Those that wait or run.
    pub open: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Those whose time has passed.
    pub expired: u64,
}

/// A job of a batch that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number in the store, by which the next page begins.
    pub number: i64,
    /// The id of the job.
    pub id: String,
    /// The name by which the batch knows it.
    pub label: String,
    /// The state.
    pub state: State,
    /// The result; empty if there is none.
    pub result: Vec<u8>,
}

/// What a notice reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Where it is sent.
    pub target: String,
    /// `job` or `batch`.
    pub kind: String,
    /// The id of the job or the batch.
    pub of: String,
    /// The name of the state in which it has ended.
    pub state: String,
    /// When it ended, in milliseconds of Unix time.
    pub at: u64,
}

/// A notice that is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The number in the store.
    pub number: i64,
    /// The fencing number.
    pub fence: i64,
    /// The id, the same in each attempt.
    pub id: String,
    /// The owner of what it reports.
    pub owner: String,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// What it reports.
    pub notice: Notice,
}

/// What the store holds, of all owners together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// The jobs by the names of their states.
    pub jobs: BTreeMap<&'static str, u64>,
    /// The batches that have not ended.
    pub batches_open: u64,
    /// The notices that wait.
    pub notices: u64,
    /// The bytes of requests and results.
    pub bytes: u64,
    /// When the oldest job was queued that waits, in milliseconds of Unix time.
    pub oldest_queued: Option<u64>,
}

/// The reason why the store does not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It does not exist, or belongs to another owner.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The thing at which a page begins is not in the list.
    #[error("`after` must be the id of an item of the list")]
    NotListed,
    /// The owner has as much of something as the settings allow.
    #[error("there are already {max} {what} (`jobs.{setting}`)")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The setting below `jobs`.
        setting: &'static str,
        /// Its value.
        max: u64,
    },
    /// The key for idempotency was used for another request.
    #[error("the idempotency key was used for another request")]
    OtherRequest,
    /// The store is damaged or is not a store, or its key is not the one that is set.
    #[error("{0}")]
    Damaged(String),
    /// The store cannot be used now.
    #[error("the store of jobs failed: {0}")]
    Failed(String),
}

/// The reason why a question about jobs has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The actor did not answer; a retry may succeed.
    #[error("the store of jobs is unavailable: {0}")]
    NoAnswer(#[from] AskError),
}
