//! The layer that a value came from.

use std::fmt;

/// The layer that a value came from, and the place in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The defaults of the types.
    Default,
    /// A settings file.
    File {
        /// The path of the file as it was given.
        path: String,
        /// The line; the first is 1.
        line: usize,
        /// The column in characters; the first is 1.
        column: usize,
    },
    /// The environment variable with this name.
    Variable(String),
}

impl Origin {
    /// Returns `true` for the defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(formatter, "default"),
            Self::File { path, line, column } => write!(formatter, "{path}:{line}:{column}"),
            Self::Variable(name) => write!(formatter, "{name}"),
        }
    }
}
