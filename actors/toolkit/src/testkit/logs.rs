//! Expectations of the log of this thread.

use std::{
    fmt::{self, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The level of the event.
    pub level: Level,
    /// The message, then each field as ` name=value`.
    pub text: String,
}

/// Keeps the events logged on this thread from [`LogProbe::start`] until it is dropped. Modelled on Pekko's
/// `LoggingTestKit`. The threads of other arbiters are not covered.
pub struct LogProbe {
    kept: Kept,
    _default: DefaultGuard,
    /// With a single dispatcher alive, tracing asks only the thread that first reaches an event whether it is enabled.
    /// Another thread, which has no dispatcher, would then disable the event for this one.
    _second: Dispatch,
}

#[derive(Clone, Default)]
struct Kept {
    events: Arc<Mutex<Vec<Logged>>>,
    spans: Arc<AtomicU64>,
}

impl LogProbe {
    /// Starts to keep events of every level.
    pub fn start() -> Self {
        let kept = Kept::default();
        Self {
            _default: tracing::subscriber::set_default(kept.clone()),
            _second: Dispatch::new(kept.clone()),
            kept,
        }
    }

    /// Returns the events logged so far.
    pub fn events(&self) -> Vec<Logged> {
        self.kept.lock().clone()
    }

    /// Returns the number of events of `level` that contain `text`.
    pub fn count(&self, level: Level, text: &str) -> usize {
        let events = self.kept.lock();
        let wanted = events
            .iter()
            .filter(|event| event.level == level && event.text.contains(text));
        wanted.count()
    }

    /// Expects exactly `occurrences` events of `level` that contain `text`.
    ///
    /// # Panics
    /// Panics if there are more or fewer.
    #[track_caller]
    pub fn expect(&self, level: Level, text: &str, occurrences: usize) {
        let found = self.count(level, text);
        assert_eq!(
            found,
            occurrences,
            "{level} events with `{text}`; logged was {:#?}",
            self.events()
        );
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Vec<Logged>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // The id of a span must not be zero.
        span::Id::from_u64(self.spans.fetch_add(1, SeqCst) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.lock().push(Logged {
            level: *event.metadata().level(),
            text: text.message + &text.fields,
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    }
}

impl fmt::Debug for LogProbe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LogProbe")
            .field("events", &self.events())
            .finish_non_exhaustive()
    }
}
