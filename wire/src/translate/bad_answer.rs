//! The error of an answer that cannot be translated.

/// A backend's answer that does not have the shape of its dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The bytes are not JSON.
    #[error("the answer is not JSON: {0}")]
    NotJson(String),
    /// A required field is missing or has the wrong type.
    #[error("the answer has no usable `{0}`")]
    Lacks(&'static str),
    /// A field has a value that contradicts what came before it.
    #[error("the answer contradicts itself in `{0}`")]
    Contradicts(&'static str),
    /// The stream ended before the backend sent a finish reason.
    #[error("the backend's stream ended before the answer was complete")]
    Incomplete,
    /// The backend reported an error in its stream.
    #[error("the backend reported an error in its stream: {0}")]
    Reported(String),
    /// The answer is larger than the bound of the translation.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}
