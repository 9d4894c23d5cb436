//! Settings values with units, and errors that name the key.
//!
//! Every crate of Kebne owns the struct of its settings, with defaults and ranges. This crate holds what those structs
//! share: durations and sizes that are written with their unit, the trait [`Validate`], and [`SettingsError`]. It reads
//! no file and no environment.

mod error;
mod units;
mod validate;

pub use error::{SettingsError, SettingsErrors};
pub use units::{ByteCount, HumanDuration, UnitError};
pub use validate::{Validate, join, validate_each};
