//! Messages that nobody will handle: counted, published, and logged without flooding the log.
//!
//! Owns the count and the log's budget. A lost [`DeadLetter`] is counted only, so that a slow subscriber
//! cannot make dead letters of dead letters.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::Message;
use tokio::time::Instant;

use super::event_stream::EventStream;

/// Dead letters that are logged in a row, as in Pekko.
const LOGGED_MAX: u32 = 10;
/// How long the log is silent after those, as in Pekko.
const SILENCE: Duration = Duration::from_mins(5);

/// A message that nobody will handle.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct DeadLetter {
    /// To whom it was sent.
    pub path: Arc<str>,
    /// The message's type.
    pub message: &'static str,
}

/// What becomes of dead letters in one system.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    count: AtomicU64,
    budget: Mutex<Budget>,
    events: EventStream,
}

#[derive(Debug, Default)]
struct Budget {
    logged: u32,
    silent_from: Option<Instant>,
    suppressed: u64,
}

/// Whether a dead letter is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logging {
    /// It is, and so many before it were not.
    Logged {
        suppressed: u64,
    },
    Suppressed,
}

impl Budget {
    fn spend(&mut self, now: Instant) -> Logging {
        if let Some(from) = self.silent_from {
            if now.saturating_duration_since(from) < SILENCE {
                self.suppressed += 1;
                return Logging::Suppressed;
            }
            *self = Self {
                suppressed: self.suppressed,
                ..Self::default()
            };
        }
        self.logged += 1;
        if self.logged >= LOGGED_MAX {
            self.silent_from = Some(now);
        }
        Logging::Logged {
            suppressed: std::mem::take(&mut self.suppressed),
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(events: EventStream) -> Self {
        Self {
            count: AtomicU64::new(0),
            budget: Mutex::default(),
            events,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Notes a message of type `message` for the actor at `path`.
    pub(crate) fn note(&self, path: &Arc<str>, message: &'static str) {
        self.count.fetch_add(1, SeqCst);
        if message == std::any::type_name::<DeadLetter>() {
            return;
        }
        let logging = {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.spend(Instant::now())
        };
        if let Logging::Logged { suppressed } = logging {
            tracing::info!(actor = %path, message, suppressed, "dead letter");
        }
        self.events.publish(&DeadLetter {
            path: Arc::clone(path),
            message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_dead_letters_are_logged_then_the_log_is_silent_for_five_minutes() {
        let start = Instant::now();
        let mut budget = Budget::default();
        for _ in 0..10 {
            assert_eq!(budget.spend(start), Logging::Logged { suppressed: 0 });
        }
        assert_eq!(budget.spend(start), Logging::Suppressed);
        let almost = start + Duration::from_secs(299);
        assert_eq!(budget.spend(almost), Logging::Suppressed);
        let after = start + SILENCE;
        assert_eq!(budget.spend(after), Logging::Logged { suppressed: 2 });
    }
}
