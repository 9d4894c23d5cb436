//! Starts the log. It is written to standard error, because standard output is for results.

use std::io::{self, IsTerminal};

use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::{LogFormat, LogSettings};

/// The reason why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is invalid; validated settings never cause this.
    #[error("the log filter is wrong: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// A log has already been started in this process.
    #[error("the log is already started: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log of this process; called once, before anything is logged.
///
/// # Errors
/// See [`LoggingError`].
pub fn start(settings: &LogSettings) -> Result<(), LoggingError> {
    let filter: Targets = settings.filter.parse()?;
    // Colours are for a terminal; in a file they are noise.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let layer = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    Ok(())
}
