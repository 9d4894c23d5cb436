//! What follows a failure: resume, restart, stop or escalate, how often, and after which wait.

use std::{fmt, sync::Arc, time::Duration};

use kebne_control::Chance;
use tokio::time::Instant;

use super::watch::Terminated;

/// Why an actor failed.
#[derive(Debug)]
pub enum Fault {
    /// A handler reported an error by `Context::fail`.
    Error(Box<dyn std::error::Error + Send + Sync>),
    /// A handler, a hook or an actor future panicked, with this message.
    Panic(String),
    /// The factory or `started` panicked, with this message.
    Start(String),
    /// A child escalated its failure.
    Child {
        /// The child's path.
        path: Arc<str>,
        /// What it said.
        message: String,
    },
    /// It waited in `ctx.wait` for longer than this, which is what `Props::hang_after` allows.
    Hang(Duration),
    /// Its mailbox was full and its overflow strategy is to fail.
    Overflow,
    /// An actor that it cannot live without stopped: see `Context::watch_or_die`.
    DeathPact(Terminated),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(formatter, "{error}"),
            Self::Panic(message) => write!(formatter, "panicked: {message}"),
            Self::Start(message) => write!(formatter, "failed to start: {message}"),
            Self::Child { path, message } => write!(formatter, "child `{path}` failed: {message}"),
            Self::Hang(limit) => write!(formatter, "made no progress for {limit:?}"),
            Self::Overflow => formatter.write_str("its mailbox overflowed"),
            Self::DeathPact(Terminated { path, cause }) => {
                write!(formatter, "`{path}`, which it depends on, is gone: {cause}")
            }
        }
    }
}

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Go on with the same state; the failing message is lost.
    Resume,
    /// Go on with fresh state; the mailbox is kept, the failing message is lost.
    Restart,
    /// Stop.
    Stop,
    /// Stop, and let the parent fail.
    Escalate,
}

type Decider = Arc<dyn Fn(&Fault) -> Directive + Send + Sync>;

/// How a supervised actor's failures are met.
#[derive(Clone)]
pub struct Strategy {
    decide: Decider,
    limit: Option<(u32, Duration)>,
    escalate_at_limit: bool,
    backoff: Option<Backoff>,
}

#[derive(Clone, Copy, Debug)]
struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
    reset_after: Duration,
}

impl Strategy {
    /// Decides by the failure.
    pub fn decide(decider: impl Fn(&Fault) -> Directive + Send + Sync + 'static) -> Self {
        Self {
            decide: Arc::new(decider),
            limit: None,
            escalate_at_limit: false,
            backoff: None,
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

    /// Allows `restarts` in a window that the first failure opens; one more stops the actor.
    #[must_use]
    pub fn with_limit(mut self, restarts: u32, window: Duration) -> Self {
        self.limit = Some((restarts, window));
        self
    }

    /// Fails the parent, instead of only stopping, when the limit is exceeded.
    #[must_use]
    pub fn escalate_at_limit(mut self) -> Self {
        self.escalate_at_limit = true;
        self
    }

    /// Waits before the k-th restart (from zero) for `min(max, min * 2^k) * (1 + U(0, jitter))`, as
    /// Pekko does, with a jitter of 0.2. The count falls to zero after `(min + max) / 2` without failure.
    #[must_use]
    pub fn with_backoff(mut self, min: Duration, max: Duration) -> Self {
        let reset_after = min.saturating_add(max) / 2;
        self.backoff = Some(Backoff {
            min,
            max,
            jitter: 0.2,
            reset_after,
        });
        self
    }

    /// Sets the jitter of the backoff, a share of the wait that is added at most; default 0.2.
    #[must_use]
    pub fn with_jitter(mut self, jitter: f64) -> Self {
        if let Some(backoff) = &mut self.backoff {
            backoff.jitter = jitter.clamp(0.0, 1.0);
        }
        self
    }

    /// Sets the quiet time after which the backoff starts over.
    #[must_use]
    pub fn with_reset_after(mut self, reset_after: Duration) -> Self {
        if let Some(backoff) = &mut self.backoff {
            backoff.reset_after = reset_after;
        }
        self
    }
}

impl fmt::Debug for Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Strategy")
            .field("limit", &self.limit)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self::stop()
    }
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Resume,
    Restart(Duration),
    Stop,
    Escalate,
}

/// The failures of one actor, counted across its restarts.
#[derive(Debug, Default)]
pub(crate) struct Record {
    window_opened: Option<Instant>,
    in_window: u32,
    in_row: u32,
    last_restart: Option<Instant>,
}

impl Record {
    /// Judges a failure at `now`.
    pub(crate) fn judge(
        &mut self,
        strategy: &Strategy,
        fault: &Fault,
        now: Instant,
        chance: &mut dyn Chance,
    ) -> Verdict {
        match (strategy.decide)(fault) {
            Directive::Resume => Verdict::Resume,
            Directive::Stop => Verdict::Stop,
            Directive::Escalate => Verdict::Escalate,
            Directive::Restart if self.exceeds(strategy, now) => {
                if strategy.escalate_at_limit {
                    Verdict::Escalate
                } else {
                    Verdict::Stop
                }
            }
            Directive::Restart => Verdict::Restart(self.wait(strategy, now, chance)),
        }
    }

    /// Counts a failure in the fixed window; says whether it is one too many.
    fn exceeds(&mut self, strategy: &Strategy, now: Instant) -> bool {
        let Some((restarts, window)) = strategy.limit else {
            return false;
        };
        match self.window_opened {
            Some(opened) if now.saturating_duration_since(opened) <= window => self.in_window += 1,
            _ => {
                self.window_opened = Some(now);
                self.in_window = 1;
            }
        }
        self.in_window > restarts
    }

    fn wait(&mut self, strategy: &Strategy, now: Instant, chance: &mut dyn Chance) -> Duration {
        let Some(backoff) = strategy.backoff else {
            return Duration::ZERO;
        };
        let quiet = self
            .last_restart
            .is_some_and(|at| now.saturating_duration_since(at) >= backoff.reset_after);
        if quiet {
            self.in_row = 0;
        }
        // 2^30 times any minimum is beyond any maximum, as in Pekko.
        let doubled = backoff.min.saturating_mul(1 << self.in_row.min(30));
        self.in_row = self.in_row.saturating_add(1);
        let wait = doubled
            .min(backoff.max)
            .mul_f64(1.0 + chance.unit() * backoff.jitter);
        self.last_restart = now.checked_add(wait);
        wait
    }
}
