//! One lane in front of one backend: admission, adaptive limit, cold start, retries, exactly one ending.

mod actor;
pub(crate) mod attempt;
pub mod backend;
mod builder;
pub mod call;
pub(crate) mod endings;
pub mod handle;
pub(crate) mod job;
pub(crate) mod kept;
pub(crate) mod permits;
mod prewarm;
mod settings;
mod snapshot;
pub(crate) mod status;

pub use backend::{Answer, Attempt, Backend, Failure, Tail, TailEnding};
pub use builder::LaneBuilder;
pub use call::{CallError, CallOptions, Ending, RefusalReason};
pub use endings::EndingCounts;
pub use handle::{CallGuard, LaneHandle, Reply};
pub use kebne_control::Outcome;
pub use prewarm::{Prewarm, PrewarmError};
pub use settings::LaneSettings;
pub use snapshot::LaneSnapshot;

#[cfg(test)]
mod tests;
