//! Delays elements, each by its own delay, and keeps their order.
//!
//! Owns the time at which an element is due. It holds a bounded number of elements, which it reads ahead. Source:
//! Pekko `FlowDelaySpec`.

use std::{collections::VecDeque, pin::pin, time::Duration};

use futures_core::Stream;
use futures_util::StreamExt;
use tokio::{
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

use super::{
    buffer::{BufferPolicy, keep},
    detached::Detached,
    link::Outlet,
};

pub(super) fn delay<S>(
    source: S,
    size: usize,
    policy: BufferPolicy,
    mut delay: impl FnMut(&S::Item) -> Duration + Send + 'static,
) -> Detached<S::Item>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
{
    Detached::new(async move |outlet: Outlet<S::Item>| {
        let size = size.max(1);
        let mut held: VecDeque<(Option<Instant>, S::Item)> = VecDeque::new();
        let mut source = pin!(source.fuse());
        while !(source.is_done() && held.is_empty()) {
            consume_budget().await;
            let has_room = held.len() < size || policy != BufferPolicy::Backpressure;
            let now = Instant::now();
            // An element whose delay exceeds the range of the clock is never due.
            let head = held.front().map(|(due, _)| *due);
            let due = matches!(head, Some(Some(due)) if due <= now);
            let wake = head.flatten().filter(|_| !due);
            tokio::select! {
                biased;
                () = outlet.wanted(), if due => {
                    if let Some((_, item)) = held.pop_front() {
                        outlet.put(item);
                    }
                }
                item = source.next(), if has_room && !source.is_done() => {
                    if let Some(item) = item {
                        let due = Instant::now().checked_add(delay(&item));
                        keep(&mut held, (due, item), size, policy);
                    }
                }
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
                else => std::future::pending().await,
            }
        }
    })
}
