//! Dead letters: messages that will not be handled. They are counted, published, and logged without flooding the log.
//!
//! Owns the count and the limit of the log. A [`DeadLetter`] that is itself lost is only counted, so that a slow
//! subscriber cannot cause dead letters about dead letters. Source: Pekko's dead letters and their suspended log.

use std::{
    any::TypeId,
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
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

/// Why a message will not be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The actor has stopped.
    Stopped,
    /// The mailbox was full, or closed to work while the actor restarts: Pekko's `Dropped`.
    Dropped,
}

/// A message that will not be handled.
///
/// Unlike in Pekko it contains neither the message nor its sender: messages are moved, not shared, and need not be
/// printable. An answer that comes too late is not a dead letter: the asker has its error, and the token of
/// `Context::asker` is cancelled. There is no `UnhandledMessage`: a message that an actor does not handle does not
/// compile.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct DeadLetter {
    /// The path of the receiver.
    pub path: Arc<str>,
    /// The message's type.
    pub message: &'static str,
    /// Why it will not be handled.
    pub reason: Undelivered,
}

/// A dead letter of a type whose loss is expected: see `ActorSystem::suppress_dead_letters`.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct SuppressedDeadLetter(pub DeadLetter);

/// A message's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    id: TypeId,
    pub(crate) name: &'static str,
}

impl Kind {
    pub(crate) fn of<M: 'static>() -> Self {
        Self::named::<M>(std::any::type_name::<M>())
    }

    pub(crate) fn named<M: 'static>(name: &'static str) -> Self {
        Self {
            id: TypeId::of::<M>(),
            name,
        }
    }
}

/// The dead letters of one system.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    count: AtomicU64,
    suppressed: RwLock<BTreeSet<TypeId>>,
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
    /// It is logged; this number of earlier ones was not.
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
            suppressed: RwLock::default(),
            budget: Mutex::default(),
            events,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(SeqCst)
    }

    pub(crate) fn suppress(&self, kind: Kind) {
        let suppressed = self.suppressed.write();
        suppressed
            .unwrap_or_else(PoisonError::into_inner)
            .insert(kind.id);
    }

    fn is_suppressed(&self, kind: Kind) -> bool {
        let suppressed = self.suppressed.read();
        suppressed
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&kind.id)
    }

    /// Notes a message of type `M` that was dropped.
    pub(crate) fn note_dropped<M: 'static>(&self, path: &Arc<str>) {
        self.note(path, Kind::of::<M>(), Undelivered::Dropped);
    }

    /// Notes a message for the actor at `path`.
    pub(crate) fn note(&self, path: &Arc<str>, kind: Kind, reason: Undelivered) {
        let letter = DeadLetter {
            path: Arc::clone(path),
            message: kind.name,
            reason,
        };
        if self.is_suppressed(kind) {
            self.events.publish(&SuppressedDeadLetter(letter));
            return;
        }
        self.count.fetch_add(1, SeqCst);
        let own = [Kind::of::<DeadLetter>(), Kind::of::<SuppressedDeadLetter>()];
        if own.contains(&kind) {
            return;
        }
        let logging = {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.spend(Instant::now())
        };
        if let Logging::Logged { suppressed } = logging {
            let message = kind.name;
            tracing::info!(actor = %path, message, ?reason, suppressed, "dead letter");
        }
        self.events.publish(&letter);
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
