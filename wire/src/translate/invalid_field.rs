//! The error of a request that cannot be translated.

use crate::translate::Path;

/// A field of a request that is missing, has the wrong type, or has no counterpart in the target dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct InvalidField {
    /// The place of the field, for example `messages[0].content[1].source.type`.
    pub field: String,
    /// The reason, as the rest of a sentence that begins with the name of the field.
    pub reason: String,
}

impl InvalidField {
    /// Creates the error for the value at a path.
    pub(crate) fn at(path: Path<'_>, reason: impl Into<String>) -> Self {
        Self {
            field: path.to_string(),
            reason: reason.into(),
        }
    }

    /// Creates the error for a field without a counterpart in the target dialect.
    pub(crate) fn unsupported(path: Path<'_>) -> Self {
        Self::at(path, "is not supported by this model's backend")
    }
}
