//! An adaptive lane in front of any async call: admission, concurrency limit, rate, cold start, retries, and exactly one
//! ending per call.
//!
//! [`LaneBuilder`] starts a lane in front of a [`Backend`]; [`LaneHandle::call`] sends a request through it and returns
//! the answer or an error. A lane does not depend on HTTP or on models.
//!
//! Each file uses only files further up in this list: the types that callers and backends use ([`backend`], [`call`],
//! [`endings`], [`settings`], [`snapshot`], [`trail`]); `job` and `guard`, a call inside the lane; `attempt`, `open_slots`,
//! `attempt_task` and `worker`, which make attempts; `rate_controller`, which decides the concurrency and the rate; `worker_pool`, which decides the
//! order; `lane`, their parent and bulkhead; [`handle`], [`LaneBuilder`] and [`ViaLane`], the entrances.

mod attempt;
mod attempt_task;
pub mod backend;
mod builder;
pub mod call;
mod clock;
pub mod endings;
mod guard;
pub mod handle;
mod in_place;
mod job;
mod kept;
mod lane;
mod observe;
mod open_slots;
mod prewarm;
mod rate_controller;
mod reports;
pub mod settings;
mod sharing;
pub mod snapshot;
mod status;
pub mod trail;
mod via_lane;
mod visit;
mod worker;
mod worker_pool;

pub use backend::{Answer, Attempt, Backend, Failure, Tail, TailEnding};
pub use builder::{LaneBuilder, StartError};
pub use call::{CallError, CallOptions, Ending, RefusalReason, Repeats, Withdrawal};
pub use endings::EndingCounts;
pub use guard::{CallGuard, Reply};
pub use handle::{LaneHandle, NoAnswer};
pub use kebne_control::{
    BucketGrant, BucketHint, ControllerReport, Grant, Kind, LaneState, Law, Lease, LoadTimes,
    Momentary, Order, Outcome, Permission, PoolReport, PriorityReport, QuotaHints, Renewal,
    Replica, ShareReport, Snapshot, Timestamp, Verdict,
};
pub use kebne_settings::{ByteCount, HumanDuration, SettingsErrors};
pub use prewarm::{Prewarm, PrewarmError};
pub use settings::LaneSettings;
pub use snapshot::{LaneSnapshot, PastVerdict, Service};
pub use status::{FailureCount, LastFailure};
pub use trail::{AttemptEnding, AttemptTrail, Trail, TrailReport};
pub use via_lane::{LaneFlowExt, Replies, ViaLane};

// Types of other crates in this crate's interface.
pub use actix_rt::ArbiterHandle;
pub use bytes::Bytes;
pub use tokio_util::sync::CancellationToken;

/// Compiles and runs the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
