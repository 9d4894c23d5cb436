//! Starts the log. It is written to standard error, because standard output is for results.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::settings::{LogFormat, LogSettings};

/// Where the HTTP server writes one line at level ERROR per request head that it cannot read. Any caller can cause them
/// without bound, so they are written only if the filter names this crate.
const HTTP_SERVER: &str = "actix_http";

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
    let filter = filter(settings)?;
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

/// Returns the filter of the settings, without the HTTP server's lines if they are not asked for.
fn filter(settings: &LogSettings) -> Result<Targets, LoggingError> {
    let filter: Targets = settings.filter.parse()?;
    let is_named = filter
        .iter()
        .any(|(target, _)| target.starts_with(HTTP_SERVER));
    Ok(if is_named {
        filter
    } else {
        filter.with_target(HTTP_SERVER, LevelFilter::OFF)
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn lines_that_any_caller_can_cause_are_written_only_if_they_are_asked_for() {
        let is_written = |filter_text: &str| {
            let settings = LogSettings {
                filter: filter_text.to_owned(),
                ..LogSettings::default()
            };
            let target = "actix_http::h1::dispatcher";
            filter(&settings)
                .unwrap()
                .would_enable(target, &Level::ERROR)
        };
        assert!(!is_written("info"));
        assert!(!is_written("info,kebne=debug"));
        assert!(is_written("info,actix_http=error"));
        assert!(is_written("info,actix_http::h1=debug"));
    }
}
