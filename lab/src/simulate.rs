//! A model server without a model: it starts cold, loads, warms up, has a capacity, slow calls and failures.
//!
//! [`Model`] is the pure state machine; [`dialect`] and [`text`] produce the answers. The HTTP server and the
//! in-process backend of the program use them. The model has no protection from overload.

pub mod dialect;
pub mod fault;
pub mod live;
pub mod model;
pub mod profile;
mod refusal;
pub mod server;
mod settings;
pub mod stage;
pub mod text;

pub use fault::{FAULT_HEADER, Fault};
pub use live::{LiveModel, Place};
pub use model::{Decision, Model, Status, Work, WorkEnding};
pub use profile::{PLAN_ATTEMPT_TIMEOUT, Preset, Profile, UnknownPreset};
pub use refusal::work_of;
pub use server::{serve, serve_script};
pub use settings::SimulationSettings;
