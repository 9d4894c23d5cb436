//! Model servers on demand: processes that are started when a call waits for them, supervised, and stopped when they are not
//! used, within a budget of memory and slots.
//!
//! [`Schedule`] decides, without clock and I/O. The actor around it starts one `ModelServer` for each run of a server. A call
//! takes a [`Lease`] of its server; no server is stopped under a lease. The crate does not know HTTP, lanes or models: whether
//! a server serves is asked through the trait [`Health`].

mod clock;
mod command;
mod failure;
mod gate;
mod health;
mod hook;
mod lines;
mod model_server;
mod parts;
mod process;
mod report;
mod room;
mod run;
mod schedule;
mod scheduler;
mod servers;
mod settings;

pub use command::{CommandHook, CommandSettings};
pub use failure::{Failing, FailureKind};
pub use gate::{Lease, NotLoaded};
pub use health::Health;
pub use hook::{Hook, Hooks};
pub use parts::{Means, ServerParts};
pub use process::{Launch, Launcher, become_server};
pub use report::ServerReport;
pub use room::Room;
pub use schedule::{
    Again, BACKOFF, Effect, Event, LINGER, Phase, Schedule, ServerId, Terms, Usage, View,
    WANTED_FOR,
};
pub use scheduler::ServerChanged;
pub use servers::{Server, Servers};
pub use settings::{DEVICE, DeviceSettings, Port, ProcessSettings, ServersSettings, StaySettings};

/// The README, whose examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
