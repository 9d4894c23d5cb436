//! Leases by which several gateways share the capacity of one backend.
//!
//! Owns the traits of the stores of leases, two stores that need no server, and the loop that renews a lease in the background. How
//! capacity is divided is decided in [`kebne_control::SharedLane`]. This crate does not know HTTP, models or brokers, and nothing here
//! is on the path of a call.

mod clock;
#[cfg(any(test, feature = "testkit"))]
pub mod contract;
mod file;
mod keep;
mod lease;
mod local;
mod settings;

pub use file::FileLeases;
pub use kebne_control::{Lease, Renewal, SharedLane, Snapshot, Timestamp, Wake};
pub use keep::{LeaseHolder, LeaseState, Shared, keep_lease};
pub use lease::{CapacityLease, LaneKey, Later, LeaseError, Renewed, WakeLease};
pub use local::LocalLeases;
pub use settings::{ShareBy, ShareSettings};

/// Compiles and runs the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
