#![doc = include_str!("../README.md")]

mod checks;
mod error;
mod origin;
mod units;
mod validate;
mod variable;

pub use checks::Checks;
pub use error::{SettingsError, SettingsErrors};
pub use origin::Origin;
pub use units::{ByteCount, HumanDuration, UnitError};
pub use validate::{Validate, join, validate_each};
pub use variable::is_variable_name;
