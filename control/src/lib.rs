#![doc = include_str!("../README.md")]

pub mod balance;
pub mod chance;
pub mod controller;
pub mod fallback;
pub mod grant;
pub mod kind;
pub mod limit;
pub mod load_time;
mod num;
pub mod outcome;
mod part;
pub mod pool;
mod rate;
pub mod settings;
pub mod share;
pub mod time;
pub mod verdict;

pub use balance::Replica;
pub use chance::Chance;
pub use controller::{
    AttemptId, Controller, ControllerReport, Effect, Message, Momentary, ShareReport, Snapshot,
    Span,
};
pub use fallback::{FallbackKind, FallbackRules, TimeLeft};
pub use grant::{BucketGrant, Grant, LaneState, Permission};
pub use kind::{Kind, Kinds, Measure};
pub use load_time::LoadTimes;
pub use outcome::{BucketHint, Outcome, QuotaHints};
pub use part::{Part, Without};
pub use pool::{
    AfterAttempt, CallId, Dispatch, Exhaustion, Hedge, OfferedCall, OpenTerms, Pool, PoolReport,
    PriorityReport, Refusal, RefusalReason,
};
pub use settings::{ControllerSettings, Invalid, Law, Order, PoolSettings};
pub use share::{Holder, Lease, Renewal, SharedLane, Wake, divide};
pub use time::Timestamp;
pub use verdict::{Verdict, VerdictKind};
