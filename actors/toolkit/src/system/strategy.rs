//! Supervision strategies: resume, restart, stop or escalate, with limits and backoff.
//!
//! A strategy only decides; the actor's cell carries the decision out.
//! Source: Pekko's `SupervisorStrategy` and its `Supervision`, as documented.
//! Source: Pekko's `SupervisorStrategy` and its `Supervision`, as documented.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use tracing::Level;

use super::fault::Fault;

mod record;

pub use record::Directive;
use record::Layer;
pub(crate) use record::{Action, Decision, Moment, Record};

/// The supervision strategy of an actor, which decides what happens after each failure.
///
/// A strategy may be restricted to some failures ([`Strategy::on`], [`Strategy::when`]) and followed by another
/// ([`Strategy::or_else`]). The first one that applies decides, as the innermost of Pekko's nested `supervise` does. A
/// failure to which none applies stops the actor. Each strategy keeps its own counts.
///
/// A failure of the start (in the factory, or anywhere up to the end of `started`) is handled as in Pekko. `resume`
/// stops the actor, because there is no state to continue with. A restart with neither limit nor backoff stops the
/// actor, because it would fail forever. A limit counts starts too: with a limit of 1, a failed first start is not
/// retried. With a backoff, the start is retried after the wait. Pekko applies the rule about restarts without a limit
/// to the first start only; here it applies to every start, because the loop is the same.
///
/// ```
/// use std::{io, time::Duration};
///
/// use kebne_actors::{Fault, Strategy};
///
/// let strategy = Strategy::resume()
///     .on::<std::num::ParseIntError>()
///     .or_else(
///         Strategy::restart()
///             .on::<io::Error>()
///             .with_backoff(Duration::from_millis(200), Duration::from_secs(10)),
///     )
///     .or_else(Strategy::restart().when(|fault| matches!(fault, Fault::Panic(_))));
/// ```
///
/// Pekko's classic `BackoffOpts.onStop` has no counterpart, because an actor that has stopped stays stopped. For the
/// same reason there is no `withFinalStopMessage`.
#[derive(Clone)]
pub struct Strategy {
    pub(super) layers: Vec<Layer>,
}

impl Strategy {
    /// Creates a strategy that calls `decider` for each failure.
    pub fn decide(decider: impl Fn(&Fault) -> Directive + Send + Sync + 'static) -> Self {
        Self {
            layers: vec![Layer::new(Arc::new(decider))],
        }
    }

    /// Creates a strategy that continues with the same state.
    pub fn resume() -> Self {
        Self::decide(|_| Directive::Resume)
    }

    /// Creates a strategy that restarts the actor with fresh state, at once and without a limit.
    pub fn restart() -> Self {
        Self::decide(|_| Directive::Restart)
    }

    /// Creates a strategy that stops the actor. This is the default of an actor.
    pub fn stop() -> Self {
        Self::decide(|_| Directive::Stop)
    }

    /// Creates a strategy that stops the actor and fails its parent.
    pub fn escalate() -> Self {
        Self::decide(|_| Directive::Escalate)
    }

    /// Restricts the strategy to failures for which `condition` returns `true`.
    #[must_use]
    pub fn when(self, condition: impl Fn(&Fault) -> bool + Send + Sync + 'static) -> Self {
        let condition: record::Condition = Arc::new(condition);
        self.each(|layer| layer.narrow(&condition))
    }

    /// Restricts the strategy to failures that were reported by `Context::fail` with an `E`.
    #[must_use]
    pub fn on<E: Error + 'static>(self) -> Self {
        self.when(|fault| fault.downcast_ref::<E>().is_some())
    }

    /// Uses `other` for failures to which this strategy does not apply.
    #[must_use]
    pub fn or_else(mut self, other: Self) -> Self {
        self.layers.extend(other.layers);
        self
    }

    /// Allows `restarts` in a window that starts with the first failure; one more failure stops the actor.
    #[must_use]
    pub fn with_limit(self, restarts: u32, window: Duration) -> Self {
        self.each(|layer| layer.limit = Some((restarts, window)))
    }

    /// Allows `restarts` in a row. With a backoff, the count starts again when the backoff does; without one, it
    /// covers the whole life of the actor. One more failure stops the actor. Default: no limit.
    #[must_use]
    pub fn with_max_restarts(self, restarts: u32) -> Self {
        self.each(|layer| layer.restarts_max = Some(restarts))
    }

    /// Fails the parent, instead of only stopping, when a limit is exceeded.
    #[must_use]
    pub fn escalate_at_limit(self) -> Self {
        self.each(|layer| layer.escalate_at_limit = true)
    }

    /// Waits before the k-th restart (from zero) for `min(max, min * 2^k) * (1 + U(0, jitter))`, as Pekko does, with a
    /// jitter of 0.2. The count returns to zero after `(min + max) / 2` without a failure.
    ///
    /// The wait begins with the failure, while the children stop. Meanwhile messages wait in the mailbox, within its
    /// bound, instead of in a stash of 1000 as in Pekko. A message that a full mailbox drops is a dead letter, and its
    /// ask returns [`super::AskError::Restarting`]. See [`Strategy::reject_while_restarting`].
    #[must_use]
    pub fn with_backoff(self, min: Duration, max: Duration) -> Self {
        self.each(|layer| layer.backoff = Some((min, max)))
    }

    /// Sets the jitter of the backoff: the largest share of the wait that is added to it, from 0 to 1. Default 0.2.
    #[must_use]
    pub fn with_jitter(self, jitter: f64) -> Self {
        self.each(|layer| layer.jitter = jitter.clamp(0.0, 1.0))
    }

    /// Sets the time without a failure after a restart after which the backoff starts over. Default `(min + max) / 2`.
    #[must_use]
    pub fn with_reset_after(self, reset_after: Duration) -> Self {
        self.each(|layer| layer.reset = record::Reset::After(reset_after))
    }

    /// Resets the backoff only when `Context::reset_backoff` is called, not after a time.
    #[must_use]
    pub fn with_manual_reset(self) -> Self {
        self.each(|layer| layer.reset = record::Reset::Manual)
    }

    /// Keeps the children at a restart, as Pekko's `withStopChildren(false)`. By default they are stopped. The new
    /// instance finds them with `Context::child`.
    #[must_use]
    pub fn keep_children(self) -> Self {
        self.each(|layer| layer.keep_children = true)
    }

    /// Refuses messages from the failure until the new instance has started, instead of letting them wait. A tell is
    /// dropped, and an ask returns [`super::AskError::Restarting`] at once. Messages that are already queued stay, and
    /// the control queue stays open. Use this to fail fast instead of queueing.
    #[must_use]
    pub fn reject_while_restarting(self) -> Self {
        self.each(|layer| layer.reject = true)
    }

    /// Sets the level at which failures are logged. Default: error, as in Pekko.
    #[must_use]
    pub fn with_log_level(self, level: Level) -> Self {
        self.each(|layer| layer.log = Some(level))
    }

    /// Sets the level of failures after the first `failures` in a row. Default: the same level for all.
    #[must_use]
    pub fn with_critical_log_level(self, level: Level, failures: u32) -> Self {
        self.each(|layer| layer.critical = Some((level, failures)))
    }

    /// Logs no failures. They are still published as `Restarted`, and watchers are still notified.
    #[must_use]
    pub fn without_logging(self) -> Self {
        self.each(|layer| layer.log = None)
    }

    fn each(mut self, change: impl Fn(&mut Layer)) -> Self {
        self.layers.iter_mut().for_each(change);
        self
    }
}

impl fmt::Debug for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.layers).finish()
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self::stop()
    }
}
