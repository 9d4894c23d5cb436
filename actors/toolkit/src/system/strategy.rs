//! Supervision strategies: resume, restart, stop or escalate, with limits and backoff.
//!
//! A strategy never acts: it decides, and the cell carries the decision out.
//! Source: Pekko's `SupervisorStrategy` and its `Supervision`, as documented.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use tracing::Level;

use super::fault::Fault;

mod record;

pub use record::Directive;
use record::Layer;
pub(crate) use record::{Action, Decision, Moment, Record};

/// The supervision strategy of an actor: what follows its failures.
///
/// A strategy may be narrowed to some failures ([`Strategy::on`], [`Strategy::when`]) and followed by another
/// ([`Strategy::or_else`]); the first that applies decides, as the innermost of Pekko's nested `supervise`
/// does, and a failure to which none applies stops the actor. Each keeps its own counts.
///
/// A failure of the start (the factory, or anything up to the end of `started`) is handled as in Pekko:
/// `resume` stops, because there is no state to go on with; a restart with neither limit nor backoff stops,
/// because it would fail forever; a limit holds for starts too (a limit of 1 gives a failed first start no
/// second try); with a backoff it is tried again after the wait. Pekko makes the rule about restarts without
/// a limit for the first start only; here it holds for each, since the loop is the same.
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
/// Pekko's classic `BackoffOpts.onStop` has no counterpart: an actor that stopped stays stopped, so that
/// there is no `withFinalStopMessage` either.
#[derive(Clone)]
pub struct Strategy {
    pub(super) layers: Vec<Layer>,
}

impl Strategy {
    /// Decides by the failure.
    pub fn decide(decider: impl Fn(&Fault) -> Directive + Send + Sync + 'static) -> Self {
        Self {
            layers: vec![Layer::new(Arc::new(decider))],
        }
    }

    /// Goes on with the same state.
    pub fn resume() -> Self {
        Self::decide(|_| Directive::Resume)
    }

    /// Goes on with fresh state, at once and without a limit.
    pub fn restart() -> Self {
        Self::decide(|_| Directive::Restart)
    }

    /// Stops: the strategy of an actor that was given none.
    pub fn stop() -> Self {
        Self::decide(|_| Directive::Stop)
    }

    /// Stops, and fails the parent.
    pub fn escalate() -> Self {
        Self::decide(|_| Directive::Escalate)
    }

    /// Narrows the strategy to failures for which `condition` holds.
    #[must_use]
    pub fn when(self, condition: impl Fn(&Fault) -> bool + Send + Sync + 'static) -> Self {
        let condition: record::Condition = Arc::new(condition);
        self.each(|layer| layer.narrow(&condition))
    }

    /// Narrows the strategy to failures that were reported by `Context::fail` with an `E`.
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

    /// Allows `restarts` in a window that the first failure opens; one more stops the actor.
    #[must_use]
    pub fn with_limit(self, restarts: u32, window: Duration) -> Self {
        self.each(|layer| layer.limit = Some((restarts, window)))
    }

    /// Allows `restarts` in a row: with a backoff, until it starts over; without one, in the actor's life. One
    /// more stops the actor. Default without a limit.
    #[must_use]
    pub fn with_max_restarts(self, restarts: u32) -> Self {
        self.each(|layer| layer.restarts_max = Some(restarts))
    }

    /// Fails the parent, instead of only stopping, when a limit is exceeded.
    #[must_use]
    pub fn escalate_at_limit(self) -> Self {
        self.each(|layer| layer.escalate_at_limit = true)
    }

    /// Waits before the k-th restart (from zero) for `min(max, min * 2^k) * (1 + U(0, jitter))`, as
    /// Pekko does, with a jitter of 0.2. The count falls to zero after `(min + max) / 2` without failure.
    ///
    /// The wait begins with the failure, while the children stop. Meanwhile messages wait in the mailbox,
    /// within its own bound, instead of in a stash of 1000 as in Pekko: what a full mailbox drops is a dead
    /// letter, and an ask returns [`super::AskError::Restarting`]. See [`Strategy::reject_while_restarting`].
    #[must_use]
    pub fn with_backoff(self, min: Duration, max: Duration) -> Self {
        self.each(|layer| layer.backoff = Some((min, max)))
    }

    /// Sets the jitter of the backoff, a share of the wait that is added at most; 0 to 1, default 0.2.
    #[must_use]
    pub fn with_jitter(self, jitter: f64) -> Self {
        self.each(|layer| layer.jitter = jitter.clamp(0.0, 1.0))
    }

    /// Sets the quiet time after a restart after which the backoff starts over; default `(min + max) / 2`.
    #[must_use]
    pub fn with_reset_after(self, reset_after: Duration) -> Self {
        self.each(|layer| layer.reset = record::Reset::After(reset_after))
    }

    /// Resets the backoff only by `Context::reset_backoff`, not by time.
    #[must_use]
    pub fn with_manual_reset(self) -> Self {
        self.each(|layer| layer.reset = record::Reset::Manual)
    }

    /// Lets children live on at a restart, as Pekko's `withStopChildren(false)`; default they are stopped.
    /// The new instance finds them by `Context::child`.
    #[must_use]
    pub fn keep_children(self) -> Self {
        self.each(|layer| layer.keep_children = true)
    }

    /// Refuses messages from the failure until the new instance has started, instead of letting them wait:
    /// a tell is dropped, and an ask returns [`super::AskError::Restarting`] at once. Queued messages stay, and the
    /// control queue stays open. Use this to fail fast instead of queueing.
    #[must_use]
    pub fn reject_while_restarting(self) -> Self {
        self.each(|layer| layer.reject = true)
    }

    /// Sets the level at which failures are logged; default error, as in Pekko.
    #[must_use]
    pub fn with_log_level(self, level: Level) -> Self {
        self.each(|layer| layer.log = Some(level))
    }

    /// Sets the level for failures beyond the first `failures` in a row; default the same level for all.
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
