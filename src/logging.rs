//! Starts the log. It is written to standard error, because standard output is for results.
//!
//! Lines are written by a thread of their own. When nobody reads them, the queue fills and further lines are dropped and
//! counted: the log never holds up the service.

use std::{
    io::{self, IsTerminal, Write},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

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

/// Lines that wait for the writer at most; beyond that lines are dropped.
const LINES_MAX: usize = 8192;
/// Time in which a write to [`Stderr`] must be taken.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts the log of this process; called once, before anything is logged. Dropping the guard writes the lines that
/// wait, for at most about a second.
///
/// # Errors
/// See [`LoggingError`].
pub fn start(settings: &LogSettings) -> Result<WorkerGuard, LoggingError> {
    let filter = filter(settings)?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(io::stderr());
    let _is_first = DROPPED.set(writer.error_counter());
    // Colours are for a terminal; in a file they are noise.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    let layer = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    // The usual hook writes to standard error itself, and would wait for its reader.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(guard)
}

/// Returns the lines that were dropped because the log was written too slowly.
pub fn lines_dropped() -> u64 {
    let dropped = DROPPED.get().map_or(0, ErrorCounter::dropped_lines);
    u64::try_from(dropped).unwrap_or(u64::MAX)
}

/// Standard error, for the last words of a process: a write fails when nobody takes it within a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (sender, written) = mpsc::channel();
        let line = bytes.to_vec();
        thread::spawn(move || {
            let result = io::stderr().write_all(&line);
            // The receiver is gone when the time is over.
            let _in_time = sender.send(result);
        });
        written
            .recv_timeout(WRITTEN_WITHIN)
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
