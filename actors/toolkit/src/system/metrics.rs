//! What actors do, counted: messages, their waits and handling times, and restarts.
//!
//! Owns the numbers, by the type of the actor and of the message, so that they do not grow with the number of actors. An
//! actor that is observed has its messages wrapped when they enter the mailbox; others cost nothing but a look.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::Actor;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    ask::AskState,
    dead_letters::{Kind, Undelivered},
    envelope::{Deliver, Envelope},
};

/// The messages of one type that actors of one type have handled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MessageMetrics {
    /// The type of the actor.
    pub actor: &'static str,
    /// The type of the message.
    pub message: &'static str,
    /// Messages that were handled, those that failed included.
    pub handled: u64,
    /// The time that they waited in the mailbox, together.
    pub waited: Duration,
    /// The longest time that one waited.
    pub waited_max: Duration,
    /// The time that their handlers held the thread, together. Futures that a handler returns are not included.
    pub took: Duration,
    /// The longest time that one handler held the thread.
    pub took_max: Duration,
}

/// The numbers of the actors of one system; clones share them. See `ActorSystem::observe`.
#[derive(Clone, Default)]
pub struct Metrics {
    inner: Arc<Mutex<Numbers>>,
}

#[derive(Default)]
struct Numbers {
    messages: BTreeMap<(&'static str, &'static str), MessageMetrics>,
    restarts: BTreeMap<&'static str, u64>,
}

impl Metrics {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the numbers of each type of actor and message, in the order of their names.
    pub fn messages(&self) -> Vec<MessageMetrics> {
        self.numbers().messages.values().cloned().collect()
    }

    /// Returns the restarts of each type of actor that has restarted.
    pub fn restarts(&self) -> BTreeMap<&'static str, u64> {
        self.numbers().restarts.clone()
    }

    fn handled(
        &self,
        actor: &'static str,
        message: &'static str,
        waited: Duration,
        took: Duration,
    ) {
        let mut numbers = self.numbers();
        let of_type = numbers.messages.entry((actor, message)).or_default();
        (of_type.actor, of_type.message) = (actor, message);
        of_type.handled += 1;
        of_type.waited += waited;
        of_type.waited_max = of_type.waited_max.max(waited);
        of_type.took += took;
        of_type.took_max = of_type.took_max.max(took);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.numbers();
        formatter
            .debug_struct("Metrics")
            .field("messages", &numbers.messages.len())
            .field("restarts", &numbers.restarts)
            .finish()
    }
}

/// One actor under observation.
#[derive(Clone)]
pub(crate) struct Observation {
    metrics: Metrics,
    actor: &'static str,
    path: Arc<str>,
}

impl Observation {
    pub(crate) fn new<A>(metrics: Metrics, path: Arc<str>) -> Self {
        Self {
            metrics,
            actor: std::any::type_name::<A>(),
            path,
        }
    }

    pub(crate) fn restarted(&self) {
        let mut numbers = self.metrics.numbers();
        *numbers.restarts.entry(self.actor).or_default() += 1;
    }

    /// Wraps a message that enters the mailbox now.
    pub(crate) fn wrap<A: Actor>(&self, envelope: Envelope<A>) -> Envelope<A> {
        Box::new(Timed {
            envelope,
            entered: Instant::now(),
            observation: self.clone(),
        })
    }
}

/// A message with the time when it entered the mailbox.
struct Timed<A: Actor> {
    envelope: Envelope<A>,
    entered: Instant,
    observation: Observation,
}

/// Counts a message when its handler has returned or panicked.
struct Handling {
    observation: Observation,
    message: &'static str,
    waited: Duration,
    begun: Instant,
}

impl Drop for Handling {
    fn drop(&mut self) {
        let Observation { metrics, actor, .. } = &self.observation;
        metrics.handled(actor, self.message, self.waited, self.begun.elapsed());
    }
}

impl<A: Actor> Deliver<A> for Timed<A> {
    fn begin(&self) {
        self.envelope.begin();
    }

    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context) {
        let Self {
            envelope,
            entered,
            observation,
        } = *self;
        let message = envelope.kind().name;
        let path = Arc::clone(&observation.path);
        let _handling = Handling {
            observation,
            message,
            waited: entered.elapsed(),
            begun: Instant::now(),
        };
        let span = tracing::trace_span!(target: "kebne::actor", "handle", actor = %path, message);
        let _entered = span.enter();
        envelope.deliver(actor, ctx);
    }

    fn skip(self: Box<Self>, ctx: &mut A::Context) {
        self.envelope.skip(ctx);
    }

    fn abandon(self: Box<Self>, reason: Undelivered) {
        self.envelope.abandon(reason);
    }

    fn is_abandoned(&self) -> bool {
        self.envelope.is_abandoned()
    }

    fn asker(&self) -> Option<Arc<AskState>> {
        self.envelope.asker()
    }

    fn kind(&self) -> Kind {
        self.envelope.kind()
    }

    fn influences_receive_timeout(&self) -> bool {
        self.envelope.influences_receive_timeout()
    }
}
