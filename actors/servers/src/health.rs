//! Whether a server serves.

use std::{future::Future, pin::Pin};

/// Asks a server whether it serves.
pub trait Health: Send + Sync {
    /// Asks once.
    ///
    /// The future resolves to an error with the reason if the server does not serve.
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}
