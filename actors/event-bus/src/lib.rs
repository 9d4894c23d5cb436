//! A bus of events: the trait, the bus inside a process, and the outbox on disk in front of a broker.
//!
//! Owns how messages are handed over and acknowledged. It exists so that those who emit and those who read know neither brokers nor files. It does not
//! know what messages hold, and never has an emitter wait.

mod bus;
#[cfg(any(test, feature = "testkit"))]
pub mod contract;
mod memory;
mod outbox;
mod relay;
mod settings;

pub use bus::{
    BusError, Deliveries, Delivery, EventBus, Later, Message, Published, Receipt, Subscription,
};
pub use kebne_file::FileError;
pub use kebne_seal::Keyring;
pub use memory::{Followed, Follower, MemoryBus};
pub use outbox::{Outbox, OutboxCounts, OutboxParts, StartError};
pub use relay::{Relay, RelayCounts, RelayReport};
pub use settings::{OutboxSettings, WhenFull};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
