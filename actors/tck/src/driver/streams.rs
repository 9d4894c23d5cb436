//! What a library with streams offers: operators that take a stream and return one.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};

use super::{Offered, not_offered};

/// Why a stream failed, in the words of no library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As the case scripted.
    Scripted(&'static str),
    /// A function that was given to a stage panicked.
    Panicked,
    /// An element came too early for its pace.
    RateExceeded,
    /// A buffer was full.
    Overflow,
    /// One of the four clocks ran out.
    Timeout(StreamClock),
}

/// The four clocks of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamClock {
    /// To the first element.
    Initial,
    /// Between elements.
    Idle,
    /// Of the whole stream.
    Completion,
    /// Of a slow consumer.
    Backpressure,
}

/// A stream; its first error is its last element.
pub type Flow<T = u64> = BoxStream<'static, Result<T, Fault>>;

/// Asynchronous work on an element.
pub type Work = Box<dyn FnMut(u64) -> BoxFuture<'static, Result<u64, Fault>> + Send>;

/// Folds two elements into one.
pub type Fold = Box<dyn FnMut(u64, u64) -> u64 + Send>;

/// Makes a source, again and again.
pub type Factory = Box<dyn FnMut() -> Flow + Send>;

/// Says yes or no to a failure.
pub type Decide = Arc<dyn Fn(&Fault) -> bool + Send + Sync>;

/// How much may pass in how much time.
#[derive(Clone, Copy, Debug)]
pub struct Throttling {
    /// The cost that may pass.
    pub cost: u32,
    /// In this time.
    pub per: Duration,
    /// What may pass at once; the library's automatic burst if not given.
    pub burst: Option<u64>,
    /// The cost of an element; 1 if not given.
    pub cost_of: Option<fn(u64) -> u64>,
    /// Fails what comes too early, in place of letting it wait.
    pub enforcing: bool,
}

/// How asynchronous work is done.
#[derive(Clone)]
pub struct Mapping {
    /// Elements worked on at a time.
    pub parallelism: usize,
    /// Emits in the order of the source.
    pub ordered: bool,
    /// Failures that only skip their element.
    pub resume: Option<Decide>,
}

impl fmt::Debug for Mapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mapping")
            .field("parallelism", &self.parallelism)
            .field("ordered", &self.ordered)
            .finish_non_exhaustive()
    }
}

/// What a full buffer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Does not ask for more.
    Backpressure,
    /// Drops the oldest.
    DropHead,
    /// Drops the youngest.
    DropTail,
    /// Drops everything.
    DropBuffer,
    /// Drops the new element.
    DropNew,
    /// Fails.
    Fail,
}

/// When a source is made again.
#[derive(Clone)]
pub struct Restarting {
    /// The shortest wait.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// The random factor.
    pub random: f64,
    /// Of the random part.
    pub seed: u64,
    /// The most restarts, and within which time.
    pub limit: Option<(u32, Duration)>,
    /// Restarts a completed source too.
    pub on_completion: bool,
    /// Failures that restart; all, if not given.
    pub restart_on: Option<Decide>,
}

impl fmt::Debug for Restarting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Restarting")
            .field("min", &self.min)
            .field("max", &self.max)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What to do about a failed element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Fail the stream.
    Stop,
    /// Drop the element, keep the stage's state.
    Resume,
    /// Drop the element, reset the stage's state.
    Restart,
}

/// What became of an offer to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is in.
    Enqueued,
    /// The queue is full.
    Dropped,
    /// The queue was completed, or its stream is gone.
    Closed,
    /// The queue failed.
    Failed(Fault),
}

/// The end of a queue that offers.
pub trait Queue: Send {
    /// Offers an element; never waits.
    fn offer(&self, item: u64) -> Offer;
    /// Completes; false when it was completed or failed before.
    fn complete(&self) -> bool;
    /// Fails; false when it was completed or failed before.
    fn fail(&self, fault: Fault) -> bool;
    /// Returns how many elements wait.
    fn size(&self) -> usize;
    /// Returns one more handle of the same queue.
    fn another(&self) -> Box<dyn Queue>;
}

/// Ends streams from outside.
pub trait Switch {
    /// Puts the switch into a stream.
    fn via(&self, flow: Flow) -> Flow;
    /// Completes the streams.
    fn shutdown(&self);
    /// Fails the streams.
    fn abort(&self, reason: &'static str);
}

/// The operators; each returns an error when the library has none.
#[expect(clippy::missing_errors_doc, reason = "said once for all, above")]
pub trait StreamDriver {
    /// Lets elements pass at a pace.
    fn throttle(&self, _flow: Flow, _throttling: Throttling) -> Offered<Flow> {
        not_offered("throttle")
    }

    /// Works on elements asynchronously.
    fn map_async(&self, _flow: Flow, _mapping: Mapping, _work: Work) -> Offered<Flow> {
        not_offered("asynchronous work on elements")
    }

    /// Works on elements asynchronously, one at a time of each key.
    fn map_partitioned(
        &self,
        _flow: Flow,
        _mapping: Mapping,
        _key: fn(u64) -> u64,
        _work: Work,
    ) -> Offered<Flow> {
        not_offered("asynchronous work by key")
    }

    /// Reads ahead.
    fn buffer(&self, _flow: Flow, _size: usize, _overflow: Overflow) -> Offered<Flow> {
        not_offered("buffer")
    }

    /// Folds what comes faster than it is asked for; at most `max` into one, if given.
    fn batch(&self, _flow: Flow, _max: Option<usize>, _fold: Fold) -> Offered<Flow> {
        not_offered("conflation")
    }

    /// Groups elements by number and time.
    fn grouped_within(&self, _flow: Flow, _n: usize, _within: Duration) -> Offered<Flow<Vec<u64>>> {
        not_offered("groups by time")
    }

    /// Delays each element by what `delay` says of it, holding up to `size`.
    fn delay(&self, _flow: Flow, _delay: fn(u64) -> Duration, _size: usize) -> Offered<Flow> {
        not_offered("delays")
    }

    /// Injects an element into a silence.
    fn keep_alive(&self, _flow: Flow, _idle: Duration, _inject: u64) -> Offered<Flow> {
        not_offered("heartbeats")
    }

    /// Fails when a clock runs out.
    fn timeout(&self, _flow: Flow, _clock: StreamClock, _limit: Duration) -> Offered<Flow> {
        not_offered("this timeout")
    }

    /// Makes sources again when they end.
    fn restart(&self, _restarting: Restarting, _factory: Factory) -> Offered<Flow> {
        not_offered("restarts")
    }

    /// Goes on with another source after a failure, up to `attempts` times, without end if not given.
    fn recover(&self, _flow: Flow, _attempts: Option<u32>, _factory: Factory) -> Offered<Flow> {
        not_offered("recovery")
    }

    /// Sums what passes, failing at 13; what then is said by the directive.
    fn sum_supervised(&self, _flow: Flow, _directive: Directive) -> Offered<Flow> {
        not_offered("supervision of a stage")
    }

    /// Makes a switch.
    fn switch(&self) -> Offered<Box<dyn Switch>> {
        not_offered("kill switch")
    }

    /// Makes a queue and the stream of it.
    fn queue(&self, _size: usize) -> Offered<(Box<dyn Queue>, Flow)> {
        not_offered("source queue")
    }
}
