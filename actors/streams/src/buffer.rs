//! Stages that read ahead of a slow consumer: buffers, conflation and groups.
//!
//! Owns the elements between source and consumer. Their number is always bounded: by a size, or by folding many
//! elements into one.

use std::{collections::VecDeque, pin::pin, time::Duration};

use futures_core::Stream;
use futures_util::StreamExt;
use tokio::{
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

use super::{detached::Detached, link::Outlet};

/// What a full buffer does when another element arrives. These are Pekko's overflow strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferPolicy {
    /// Does not request another element from the source.
    Backpressure,
    /// Drops the oldest element.
    DropHead,
    /// Drops the newest buffered element.
    DropTail,
    /// Drops all elements.
    DropBuffer,
    /// Drops the new element.
    DropNew,
}

/// The error of a full buffer of [`FlowExt::buffer_or_fail`](super::FlowExt::buffer_or_fail).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer of {size} elements overflowed")]
pub struct BufferOverflow {
    /// The capacity of the buffer.
    pub size: usize,
}

pub(super) fn buffer<S>(source: S, size: usize, policy: BufferPolicy) -> Detached<S::Item>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    Detached::new(async move |outlet: Outlet<S::Item>| {
        let size = size.max(1);
        let mut kept = VecDeque::new();
        let mut source = pin!(source.fuse());
        while !(source.is_done() && kept.is_empty()) {
            consume_budget().await;
            let has_room = kept.len() < size || policy != BufferPolicy::Backpressure;
            let pull = has_room && !source.is_done();
            tokio::select! {
                biased;
                () = outlet.wanted(), if !kept.is_empty() => {
                    if let Some(item) = kept.pop_front() {
                        outlet.put(item);
                    }
                }
                item = source.next(), if pull => {
                    if let Some(item) = item {
                        keep(&mut kept, item, size, policy);
                    }
                }
            }
        }
    })
}

pub(super) fn keep<T>(kept: &mut VecDeque<T>, item: T, size: usize, policy: BufferPolicy) {
    if kept.len() >= size {
        match policy {
            BufferPolicy::Backpressure => {}
            BufferPolicy::DropHead => drop(kept.pop_front()),
            BufferPolicy::DropTail => drop(kept.pop_back()),
            BufferPolicy::DropBuffer => kept.clear(),
            BufferPolicy::DropNew => return,
        }
    }
    kept.push_back(item);
}

pub(super) fn buffer_or_fail<S>(source: S, size: usize) -> Detached<Result<S::Item, BufferOverflow>>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    Detached::new(async move |outlet| {
        let size = size.max(1);
        // The source and the buffered elements are dropped before the failure waits for the consumer.
        if fill(source, size, &outlet).await.is_err() {
            outlet.send(Err(BufferOverflow { size })).await;
        }
    })
}

async fn fill<S: Stream>(
    source: S,
    size: usize,
    outlet: &Outlet<Result<S::Item, BufferOverflow>>,
) -> Result<(), BufferOverflow> {
    let mut kept = VecDeque::new();
    let mut source = pin!(source.fuse());
    while !(source.is_done() && kept.is_empty()) {
        consume_budget().await;
        let pull = !source.is_done();
        tokio::select! {
            biased;
            () = outlet.wanted(), if !kept.is_empty() => {
                if let Some(item) = kept.pop_front() {
                    outlet.put(Ok(item));
                }
            }
            item = source.next(), if pull => {
                if kept.len() >= size && item.is_some() {
                    return Err(BufferOverflow { size });
                }
                kept.extend(item);
            }
        }
    }
    Ok(())
}

pub(super) fn batch<S, A>(
    source: S,
    max: usize,
    mut seed: impl FnMut(S::Item) -> A + Send + 'static,
    mut aggregate: impl FnMut(A, S::Item) -> A + Send + 'static,
) -> Detached<A>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
    A: Send + 'static,
{
    Detached::new(async move |outlet: Outlet<A>| {
        let mut folded = None;
        let mut count = 0;
        let mut source = pin!(source.fuse());
        while !(source.is_done() && folded.is_none()) {
            consume_budget().await;
            let pull = count < max.max(1) && !source.is_done();
            tokio::select! {
                biased;
                () = outlet.wanted(), if folded.is_some() => {
                    count = 0;
                    if let Some(value) = folded.take() {
                        outlet.put(value);
                    }
                }
                item = source.next(), if pull => {
                    let Some(item) = item else {
                        continue;
                    };
                    count += 1;
                    folded = Some(match folded.take() {
                        Some(value) => aggregate(value, item),
                        None => seed(item),
                    });
                }
            }
        }
    })
}

pub(super) fn grouped_within<S>(source: S, size: usize, window: Duration) -> Detached<Vec<S::Item>>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    Detached::new(async move |outlet: Outlet<Vec<S::Item>>| {
        let size = size.max(1);
        let mut group = Vec::new();
        let mut due = Instant::now() + window;
        // The window ended with a group that was not requested yet. The group grows until it is requested.
        let mut closed = false;
        let mut source = pin!(source.fuse());
        while !(source.is_done() && group.is_empty()) {
            consume_budget().await;
            let full = group.len() >= size || source.is_done();
            let emit = !group.is_empty() && (full || closed);
            tokio::select! {
                biased;
                () = outlet.wanted(), if emit => {
                    outlet.put(std::mem::take(&mut group));
                    closed = false;
                    due = Instant::now() + window;
                }
                item = source.next(), if !full => group.extend(item),
                () = sleep_until(due), if !closed && !source.is_done() => {
                    closed = !group.is_empty();
                    due = Instant::now() + window;
                }
            }
        }
    })
}
