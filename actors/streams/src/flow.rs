//! The extension trait that adds Pekko's operators to every stream.

use std::{hash::Hash, time::Duration};

use futures_core::Stream;
use futures_util::StreamExt;

use crate::{
    BufferOverflow, BufferPolicy, Detached, Directive, Enforce, FailFast, KeepAlive, KillSwitch,
    Killable, MapError, MapOptions, Pace, Recover, Scan, StreamTimeout, Supervise, Throttle, Timed,
    TimeoutKind, buffer, delay, map_async, map_partitioned, timeouts,
};

/// The number of elements that a delay holds by default: Pekko's input buffer.
const HELD: usize = 16;

/// Pekko's operators for any stream.
pub trait FlowExt: Stream + Sized {
    /// Limits the rate of elements; elements that arrive too early wait. The bucket starts full, so the first burst
    /// passes at once, and it fills again while no elements arrive. Tokio's timer rounds a wait up to whole
    /// milliseconds; the bucket compensates for that.
    fn throttle(self, pace: Pace) -> Throttle<Self, fn(&Self::Item) -> u64> {
        Throttle::new(self, pace, |_| 1)
    }

    /// Does the same as [`FlowExt::throttle`], with a cost for each element. An element that costs more than the burst
    /// waits in proportion.
    fn throttle_by<F: FnMut(&Self::Item) -> u64>(self, pace: Pace, cost: F) -> Throttle<Self, F> {
        Throttle::new(self, pace, cost)
    }

    /// Fails with [`RateExceeded`](crate::RateExceeded) if an element arrives too early. An element that costs more
    /// than the burst can never pass.
    fn throttle_enforcing<F: FnMut(&Self::Item) -> u64>(
        self,
        pace: Pace,
        cost: F,
    ) -> Enforce<Self, F> {
        Enforce::new(self, pace, cost)
    }

    /// Works on up to `parallelism` elements at a time (0 counts as 1), emits the results in order, and fails at the
    /// first failure as soon as it happens. The work on each element is a task: it continues while the consumer is
    /// idle, and dropping the stream aborts it. Finished elements that wait to be emitted count as running.
    fn map_async<F, W, U, E>(self, parallelism: usize, work: F) -> Detached<Result<U, MapError<E>>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        F: FnMut(Self::Item) -> W + Send + 'static,
        W: Future<Output = Result<U, E>> + Send + 'static,
        U: Send + 'static,
        E: Send + 'static,
    {
        self.map_async_with(MapOptions::ordered(parallelism), work)
    }

    /// Does the same as [`FlowExt::map_async`], but emits each result as soon as it is ready.
    fn map_async_unordered<F, W, U, E>(
        self,
        parallelism: usize,
        work: F,
    ) -> Detached<Result<U, MapError<E>>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        F: FnMut(Self::Item) -> W + Send + 'static,
        W: Future<Output = Result<U, E>> + Send + 'static,
        U: Send + 'static,
        E: Send + 'static,
    {
        self.map_async_with(MapOptions::unordered(parallelism), work)
    }

    /// Does the same as [`FlowExt::map_async`], with a choice of the order and of the failures to skip.
    fn map_async_with<F, W, U, E>(
        self,
        options: MapOptions<E>,
        work: F,
    ) -> Detached<Result<U, MapError<E>>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        F: FnMut(Self::Item) -> W + Send + 'static,
        W: Future<Output = Result<U, E>> + Send + 'static,
        U: Send + 'static,
        E: Send + 'static,
    {
        map_async::map_async(self, options, work)
    }

    /// Does the same as [`FlowExt::map_async_with`], but works on one element at a time for each key that `key`
    /// returns. It works on up to as many keys as the options' parallelism. Elements of one key are handled in their
    /// order. Up to 10 elements are read ahead and wait for their key, so that one busy key does not delay the others.
    /// This is Pekko's `mapAsyncPartitioned`.
    fn map_async_partitioned<K, F, W, U, E>(
        self,
        options: MapOptions<E>,
        key: impl FnMut(&Self::Item) -> K + Send + 'static,
        work: F,
    ) -> Detached<Result<U, MapError<E>>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
        K: Eq + Hash + Clone + Send + 'static,
        F: FnMut(Self::Item, &K) -> W + Send + 'static,
        W: Future<Output = Result<U, E>> + Send + 'static,
        U: Send + 'static,
        E: Send + 'static,
    {
        map_partitioned::map_partitioned(self, options, key, work)
    }

    /// Reads up to `size` elements (0 counts as 1) ahead of the consumer; `policy` determines what a full buffer
    /// does.
    fn buffer(self, size: usize, policy: BufferPolicy) -> Detached<Self::Item>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::buffer(self, size, policy)
    }

    /// Reads up to `size` elements (0 counts as 1) ahead, and fails if one more arrives. The buffered elements are
    /// lost.
    fn buffer_or_fail(self, size: usize) -> Detached<Result<Self::Item, BufferOverflow>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::buffer_or_fail(self, size)
    }

    /// Delays each element by `delay`. It holds up to 16 elements, Pekko's default, and reads no further when it holds
    /// that many.
    fn delay(self, delay: Duration) -> Detached<Self::Item>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        delay::delay(self, HELD, BufferPolicy::Backpressure, move |_| delay)
    }

    /// Delays each element by the result of `delay`. The order is kept, so an element waits for those before it. Holds
    /// up to `size` elements (0 counts as 1); `policy` determines what happens when it holds that many.
    fn delay_with(
        self,
        size: usize,
        policy: BufferPolicy,
        delay: impl FnMut(&Self::Item) -> Duration + Send + 'static,
    ) -> Detached<Self::Item>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        delay::delay(self, size, policy, delay)
    }

    /// Folds elements that arrive faster than they are requested into one; never slows its source.
    fn conflate(
        self,
        aggregate: impl FnMut(Self::Item, Self::Item) -> Self::Item + Send + 'static,
    ) -> Detached<Self::Item>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::batch(self, usize::MAX, |item| item, aggregate)
    }

    /// Does the same as [`FlowExt::conflate`], folding into another type that starts from the first element.
    fn conflate_with_seed<A: Send + 'static>(
        self,
        seed: impl FnMut(Self::Item) -> A + Send + 'static,
        aggregate: impl FnMut(A, Self::Item) -> A + Send + 'static,
    ) -> Detached<A>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::batch(self, usize::MAX, seed, aggregate)
    }

    /// Does the same as [`FlowExt::conflate_with_seed`], but folds at most `max` elements (0 counts as 1) into one,
    /// and slows its source when there are more.
    fn batch<A: Send + 'static>(
        self,
        max: usize,
        seed: impl FnMut(Self::Item) -> A + Send + 'static,
        aggregate: impl FnMut(A, Self::Item) -> A + Send + 'static,
    ) -> Detached<A>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::batch(self, max, seed, aggregate)
    }

    /// Groups elements. It emits a group when it has `size` elements (0 counts as 1) or `window` after the last group,
    /// whichever is first. It never emits an empty group, and emits the rest at the end.
    fn grouped_within(self, size: usize, window: Duration) -> Detached<Vec<Self::Item>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::grouped_within(self, size, window)
    }

    /// Injects an element when the source has emitted nothing for `idle`. Injected elements never queue, and an
    /// element of the source takes precedence.
    fn keep_alive<F: FnMut() -> Self::Item>(self, idle: Duration, inject: F) -> KeepAlive<Self, F> {
        KeepAlive::new(self, idle, inject)
    }

    /// Adds the stream to a kill switch, which can end it from outside.
    fn via_kill_switch<E: Clone>(self, switch: &KillSwitch<E>) -> Killable<Self, E> {
        Killable::new(self, switch)
    }

    /// Fails if the first element, or the end of an empty stream, takes longer than `limit`.
    fn initial_timeout(self, limit: Duration) -> Timed<Self> {
        Timed::new(self, TimeoutKind::Initial, limit)
    }

    /// Fails if an element, including the first one, or the end takes longer than `limit` after the previous element.
    /// The time of a slow consumer counts too; [`FlowExt::backpressure_timeout`] covers only that.
    fn idle_timeout(self, limit: Duration) -> Timed<Self> {
        Timed::new(self, TimeoutKind::Idle, limit)
    }

    /// Fails if the stream has not ended after `limit`.
    fn completion_timeout(self, limit: Duration) -> Timed<Self> {
        Timed::new(self, TimeoutKind::Completion, limit)
    }

    /// Fails if the consumer takes longer than `limit` after an element to request the next one. The source is dropped
    /// at that time, not when the consumer next polls. The source is read one element ahead.
    fn backpressure_timeout(self, limit: Duration) -> Detached<Result<Self::Item, StreamTimeout>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        timeouts::backpressure_timeout(self, limit)
    }

    /// Ends the stream after its first error, as a failure ends a stream in Pekko.
    fn fail_fast<T, E>(self) -> FailFast<Self>
    where
        Self: Stream<Item = Result<T, E>>,
    {
        FailFast::new(self)
    }

    /// Continues after an error with the source that `recover` returns, at once, up to `attempts` times (`None` is
    /// unlimited, 0 is never). The error is passed on if no attempt is left or if `recover` returns `None`.
    fn recover_with_retries<T, E, R, F>(
        self,
        attempts: Option<u32>,
        recover: F,
    ) -> Recover<Self, R, F>
    where
        Self: Stream<Item = Result<T, E>>,
        R: Stream<Item = Result<T, E>>,
        F: FnMut(&E) -> Option<R>,
    {
        Recover::new(self, attempts, recover)
    }

    /// Skips errors for which `decide` does not return [`Directive::Stop`]. The stream ends with the first error for
    /// which it does. There is no state to reset, so [`Directive::Restart`] equals [`Directive::Resume`].
    fn supervise<T, E, D>(self, decide: D) -> Supervise<Self, D>
    where
        Self: Stream<Item = Result<T, E>>,
        D: FnMut(&E) -> Directive,
    {
        Supervise::new(self, decide)
    }

    /// Emits `zero`, and then the result of `step` for the last emitted value and each element. If `step` fails,
    /// `decide` determines what happens; after [`Directive::Restart`] the stream emits `zero` again, as Pekko's `scan`
    /// does.
    fn scan_supervised<A, E, F, D>(self, zero: A, step: F, decide: D) -> Scan<Self, A, F, D>
    where
        A: Clone,
        F: FnMut(&A, Self::Item) -> Result<A, E>,
        D: FnMut(&E) -> Directive,
    {
        Scan::new(self, zero, step, decide)
    }

    /// Merges the error types of two consecutive stages into one.
    fn flatten_errors<T, A, B, E>(self) -> impl Stream<Item = Result<T, E>>
    where
        Self: Stream<Item = Result<Result<T, A>, B>>,
        E: From<A> + From<B>,
    {
        self.map(|item| item.map_err(E::from)?.map_err(E::from))
    }
}

impl<S: Stream> FlowExt for S {}
