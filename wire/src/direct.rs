//! Operations without a model: a backend's files and batches.

use std::sync::Arc;

use http::Method;

/// A call of an operation that no model answers.
#[derive(Clone, Debug)]
pub struct Direct {
    /// The method.
    pub method: Method,
    /// The path under the API's base, without a leading slash.
    pub path: Arc<str>,
    /// The answer is the content of a file: it is not looked at, not even for an error.
    pub is_content: bool,
}
