//! A model server that needs no model: it is cold, loads, warms up, has a knee, slow calls and failures.
//!
//! [`Model`] decides and is pure; [`dialect`] and [`text`] say what is answered. The in-process backend
//! (`backend::simulated`) and the HTTP server are two shells around them. Nothing here protects the model from
//! its callers: to be overrun is its purpose.

pub mod dialect;
pub mod fault;
pub mod live;
pub mod model;
pub mod profile;
pub mod server;
pub mod stage;
pub mod text;

pub use fault::{FAULT_HEADER, Fault};
pub use live::{LiveModel, Place};
pub use model::{Decision, Model, Status, Work, WorkEnding};
pub use profile::{PLAN_ATTEMPT_TIMEOUT, Preset, Profile, UnknownPreset};
pub use server::{serve, serve_script};
