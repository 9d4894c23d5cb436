//! The extension trait that gives every stream Pekko's operators.

use std::{hash::Hash, time::Duration};

use futures_core::Stream;
use futures_util::StreamExt;

use crate::{
    BufferOverflow, BufferPolicy, Detached, Directive, Enforce, FailFast, KeepAlive, KillSwitch,
    Killable, MapError, MapOptions, Pace, Recover, Scan, StreamTimeout, Supervise, Throttle, Timed,
    TimeoutKind, buffer, delay, map_async, map_partitioned, timeouts,
};

/// Elements that a delay holds by default: Pekko's input buffer.
const HELD: usize = 16;

/// Pekko's operators for any stream.
pub trait FlowExt: Stream + Sized {
    /// Limits the rate of elements; those that come too early wait. The bucket starts full, so that the first burst
    /// passes at once, and it fills again while no elements come. Tokio's timer rounds a wait up to whole
    /// milliseconds, which the bucket makes up for.
    fn throttle(self, pace: Pace) -> Throttle<Self, fn(&Self::Item) -> u64> {
        Throttle::new(self, pace, |_| 1)
    }

    /// As [`FlowExt::throttle`], with a cost for each element. An element that costs more than the burst waits in
    /// proportion.
    fn throttle_by<F: FnMut(&Self::Item) -> u64>(self, pace: Pace, cost: F) -> Throttle<Self, F> {
        Throttle::new(self, pace, cost)
    }

    /// Fails with [`RateExceeded`](crate::RateExceeded) if an element comes too early. An element that costs more than the burst can
    /// never pass.
    fn throttle_enforcing<F: FnMut(&Self::Item) -> u64>(
        self,
        pace: Pace,
        cost: F,
    ) -> Enforce<Self, F> {
        Enforce::new(self, pace, cost)
    }

    /// Works on up to `parallelism` elements at a time (0 counts as 1), emits in order, and fails at the
    /// first failure as soon as it happens. Each element's work is a task: it goes on while the consumer is
    /// idle, and dropping the stream aborts it. Done elements that wait for their turn count as running.
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

    /// As [`FlowExt::map_async`], emitting each element as it is done.
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

    /// As [`FlowExt::map_async`], with a choice of order and of failures to skip.
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

    /// As [`FlowExt::map_async_with`], working on one element at a time of each key, as `key` says, and on up to the
    /// options' parallelism of keys. Elements of one key are worked on in their order. Up to 10 elements wait for
    /// their key, read ahead so that one busy key does not hold up the others. Pekko's `mapAsyncPartitioned`.
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

    /// Reads up to `size` elements (0 counts as 1) ahead, and fails at one more; the buffered elements are lost.
    fn buffer_or_fail(self, size: usize) -> Detached<Result<Self::Item, BufferOverflow>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::buffer_or_fail(self, size)
    }

    /// Delays each element by `delay`, and holds up to 16 at a time, Pekko's default; then it reads no further.
    fn delay(self, delay: Duration) -> Detached<Self::Item>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        delay::delay(self, HELD, BufferPolicy::Backpressure, move |_| delay)
    }

    /// Delays each element by the result of `delay`; the order is kept, so that an element waits for those before
    /// it. Holds up to `size` elements (0 counts as 1); `policy` determines what happens then.
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

    /// Folds elements that come faster than they are asked for into one; never slows its source.
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

    /// As [`FlowExt::conflate`], folding into another type that starts from the first element.
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

    /// As [`FlowExt::conflate_with_seed`], folding at most `max` elements (0 counts as 1) into one and
    /// slowing its source then.
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

    /// Groups elements: emits when `size` (0 counts as 1) are together, or `window` after the last group,
    /// whichever is first; never an empty group, and the rest at the end.
    fn grouped_within(self, size: usize, window: Duration) -> Detached<Vec<Self::Item>>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        buffer::grouped_within(self, size, window)
    }

    /// Injects an element when the source was silent for `idle`. Injected elements never queue, and a real
    /// element is preferred.
    fn keep_alive<F: FnMut() -> Self::Item>(self, idle: Duration, inject: F) -> KeepAlive<Self, F> {
        KeepAlive::new(self, idle, inject)
    }

    /// Adds the stream to a kill switch, which can end it from outside.
    fn via_kill_switch<E: Clone>(self, switch: &KillSwitch<E>) -> Killable<Self, E> {
        Killable::new(self, switch)
    }

    /// Fails if the first element, or an end without any, takes longer than `limit`.
    fn initial_timeout(self, limit: Duration) -> Timed<Self> {
        Timed::new(self, TimeoutKind::Initial, limit)
    }

    /// Fails if an element, the first one included, or the end takes longer than `limit` after the one before. A
    /// slow consumer counts too; [`FlowExt::backpressure_timeout`] is for it alone.
    fn idle_timeout(self, limit: Duration) -> Timed<Self> {
        Timed::new(self, TimeoutKind::Idle, limit)
    }

    /// Fails if the stream has not ended after `limit`.
    fn completion_timeout(self, limit: Duration) -> Timed<Self> {
        Timed::new(self, TimeoutKind::Completion, limit)
    }

    /// Fails if the consumer takes longer than `limit` after an element to ask for the next. The source is dropped
    /// at that time, not when the consumer asks again; it is read one element ahead.
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

    /// Continues with the source that `recover` returns for an error, in its place and at once, up to `attempts`
    /// times (`None` is unlimited, 0 never). The error is passed on if no attempt is left or `recover` returns
    /// `None`.
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

    /// Skips errors for which `decide` does not return [`Directive::Stop`]; the stream ends with the first one for
    /// which it does. There is no state to reset, so that [`Directive::Restart`] equals [`Directive::Resume`].
    fn supervise<T, E, D>(self, decide: D) -> Supervise<Self, D>
    where
        Self: Stream<Item = Result<T, E>>,
        D: FnMut(&E) -> Directive,
    {
        Supervise::new(self, decide)
    }

    /// Emits `zero`, and then the result of `step` for the last emission and each element. `decide` determines what
    /// follows if `step` fails; after [`Directive::Restart`] it emits `zero` again, as Pekko's `scan` does.
    fn scan_supervised<A, E, F, D>(self, zero: A, step: F, decide: D) -> Scan<Self, A, F, D>
    where
        A: Clone,
        F: FnMut(&A, Self::Item) -> Result<A, E>,
        D: FnMut(&E) -> Directive,
    {
        Scan::new(self, zero, step, decide)
    }

    /// Merges the errors of two stages in a row into one.
    fn flatten_errors<T, A, B, E>(self) -> impl Stream<Item = Result<T, E>>
    where
        Self: Stream<Item = Result<Result<T, A>, B>>,
        E: From<A> + From<B>,
    {
        self.map(|item| item.map_err(E::from)?.map_err(E::from))
    }
}

impl<S: Stream> FlowExt for S {}
