//! Starts the log. It is written to standard error, because standard output is for results.
//!
//! Lines are written by a thread of their own. When nobody reads them, the queue fills and further lines are dropped and
//! counted: the log never holds up the service.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{
    audit_log, request_log,
    settings::{LogFormat, LogSettings},
};

/// The crates whose lines any caller can cause without bound, so they are written only if the filter names the crate: the HTTP server writes one
/// at level ERROR per request head that it cannot read, and the protocol of MCP several per request, with texts of the caller.
const QUIET: [&str; 2] = ["actix_http", "rmcp"];

/// The reason why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is invalid; validated settings never cause this.
    #[error("the log filter is wrong: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The file of the request log or of the audit log cannot be opened.
    #[error("the {log} log cannot be written to `{}`: {error}", path.display())]
    File {
        /// `request` or `audit`.
        log: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        error: io::Error,
    },
    /// A log has already been started in this process.
    #[error("the log is already started: {0}")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Lines that wait for the writer at most; beyond that lines are dropped.
const LINES_MAX: usize = 8192;
/// Time in which a write to [`Stderr`] must be taken.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// The counters of the lines that the writers have dropped.
static DROPPED: Mutex<Vec<ErrorCounter>> = Mutex::new(Vec::new());

/// The writers of the logs. Dropping it writes the lines that wait, for at most about a second each.
#[derive(Debug)]
#[must_use = "lines are lost when it is dropped before the process ends"]
pub struct Writers {
    filter: reload::Handle<Targets, Registry>,
    /// `true` if the request log is a part of the log, and so subject to its filter.
    is_filtered: bool,
    _log: WorkerGuard,
    _requests: Option<WorkerGuard>,
    _audit: Option<WorkerGuard>,
}

/// Starts the log of this process; called once, before anything is logged.
///
/// # Errors
/// See [`LoggingError`].
pub fn start(settings: &LogSettings) -> Result<Writers, LoggingError> {
    let filter = filter(settings)?;
    let (writer, log) = beside(io::stderr(), "log");
    let requests = start_requests(settings, &writer)?;
    let audit = start_audit(settings)?;
    let is_filtered = settings.requests.file.as_os_str().is_empty();
    // Colours are for a terminal; in a file they are noise.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer);
    let layer = match settings.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let (filter, handle) = reload::Layer::new(filter);
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()?;
    // The usual hook writes to standard error itself, and would wait for its reader.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let writers = Writers {
        filter: handle,
        is_filtered,
        _log: log,
        _requests: requests,
        _audit: audit,
    };
    writers.change(settings);
    Ok(writers)
}

impl Writers {
    /// Has the logs follow other settings: the filter, and which calls the request log writes.
    pub fn change(&self, settings: &LogSettings) {
        let Ok(filter) = filter(settings) else {
            // Settings are validated before.
            return;
        };
        let is_visible =
            !self.is_filtered || filter.would_enable(request_log::TARGET, &Level::INFO);
        request_log::change(&settings.requests, is_visible);
        audit_log::change(&settings.audit);
        if let Err(error) = self.filter.reload(filter) {
            tracing::error!(%error, "the log keeps its filter");
        }
    }
}

/// Returns a writer whose lines are written by a thread of its own, and dropped and counted when that is too slow.
fn beside(output: impl Write + Send + 'static, thread: &str) -> (NonBlocking, WorkerGuard) {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .lossy(true)
        .thread_name(thread)
        .finish(output);
    let mut counters = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    counters.push(writer.error_counter());
    (writer, guard)
}

/// Starts the request log in its file, or as a part of the log.
fn start_requests(
    settings: &LogSettings,
    log: &NonBlocking,
) -> Result<Option<WorkerGuard>, LoggingError> {
    let requests = &settings.requests;
    let format = requests.format.unwrap_or(settings.format);
    if !requests.enabled {
        return Ok(None);
    }
    if requests.file.as_os_str().is_empty() {
        request_log::start(format, log.clone());
        return Ok(None);
    }
    let file = append(&requests.file, "request")?;
    let (writer, guard) = beside(file, "requests");
    request_log::start(format, writer);
    Ok(Some(guard))
}

/// Starts the file of the audit log, if there is one.
fn start_audit(settings: &LogSettings) -> Result<Option<WorkerGuard>, LoggingError> {
    let path = &settings.audit.file;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let (writer, guard) = beside(append(path, "audit")?, "audit");
    audit_log::start(writer);
    Ok(Some(guard))
}

fn append(path: &Path, log: &'static str) -> Result<File, LoggingError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| LoggingError::File {
        log,
        path: path.to_owned(),
        error,
    })
}

/// Returns the lines that were dropped because the log was written too slowly.
pub fn lines_dropped() -> u64 {
    let counters = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let dropped: usize = counters.iter().map(ErrorCounter::dropped_lines).sum();
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

/// Returns the filter of the settings, without the lines of [`QUIET`] crates that are not asked for.
fn filter(settings: &LogSettings) -> Result<Targets, LoggingError> {
    let filter: Targets = settings.filter.parse()?;
    let unnamed = QUIET.into_iter().filter(|quiet| {
        let mut named = filter.iter();
        !named.any(|(target, _)| target.starts_with(quiet))
    });
    let unnamed: Vec<&str> = unnamed.collect();
    let quiet = unnamed.into_iter();
    Ok(quiet.fold(filter, |filter, quiet| {
        filter.with_target(quiet, LevelFilter::OFF)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_any_caller_can_cause_are_written_only_if_they_are_asked_for() {
        let is_written = |filter_text: &str| {
            let settings = LogSettings {
                filter: filter_text.to_owned(),
                ..LogSettings::default()
            };
            let filter = filter(&settings).unwrap();
            ["actix_http::h1::dispatcher", "rmcp::service"]
                .map(|target| filter.would_enable(target, &Level::ERROR))
        };
        assert_eq!(is_written("info"), [false, false]);
        assert_eq!(is_written("info,kebne=debug"), [false, false]);
        assert_eq!(is_written("info,actix_http=error"), [true, false]);
        assert_eq!(is_written("info,actix_http::h1=debug"), [true, false]);
        assert_eq!(is_written("info,rmcp=warn"), [false, true]);
    }
}
