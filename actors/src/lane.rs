//! One lane in front of one backend: admission, adaptive limit, cold start, retries, exactly one ending.

pub mod backend;
pub mod call;
pub mod handle;

pub use backend::{Answer, Attempt, Backend, Failure, Tail, TailEnding};
pub use call::{CallError, CallOptions, Ending, RefusalReason};
pub use handle::{CallGuard, LaneHandle, Reply};
