//! Asynchronous work on elements, one at a time for each key, which continues while the consumer is idle.
//!
//! Owns the choice of the next element: the first one, in the order of the source, whose key is free. It holds at most
//! [`WAITING_MAX`] elements that wait for their key. Source: Pekko `FlowMapAsyncPartitionedSpec`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use futures_core::Stream;
use futures_util::StreamExt;
use tokio::task::{JoinSet, coop::consume_budget};

use super::{
    detached::Detached,
    link::Outlet,
    map_async::{MapError, MapOptions, message, note},
    places::Places,
};

/// The number of elements that may wait for their key, so that one busy key does not delay the others; Pekko's
/// default.
pub(super) const WAITING_MAX: usize = 10;

pub(super) fn map_partitioned<S, K, G, F, W, U, E>(
    source: S,
    options: MapOptions<E>,
    key: G,
    work: F,
) -> Detached<Result<U, MapError<E>>>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
    K: Eq + Hash + Clone + Send + 'static,
    G: FnMut(&S::Item) -> K + Send + 'static,
    F: FnMut(S::Item, &K) -> W + Send + 'static,
    W: Future<Output = Result<U, E>> + Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
{
    Detached::new(async move |outlet| {
        // The source and all tasks are dropped before the failure waits for the consumer.
        if let Err(error) = drive(source, options, key, work, &outlet).await {
            outlet.send(Err(error)).await;
        }
    })
}

/// The elements that wait for their key, and the keys that are in use.
struct Keys<K, T> {
    waiting: VecDeque<(u64, K, T)>,
    busy: HashSet<K>,
    parallelism: usize,
}

impl<K: Eq + Hash + Clone, T> Keys<K, T> {
    /// Takes the first element whose key is free, together with its key.
    fn next(&mut self) -> Option<(u64, K, T)> {
        if self.busy.len() >= self.parallelism {
            return None;
        }
        let free = |waiting: &(u64, K, T)| !self.busy.contains(&waiting.1);
        let first = self.waiting.iter().position(free)?;
        let next = self.waiting.remove(first)?;
        self.busy.insert(next.1.clone());
        Some(next)
    }
}

async fn drive<S, K, G, F, W, U, E>(
    source: S,
    options: MapOptions<E>,
    mut key: G,
    mut work: F,
    outlet: &Outlet<Result<U, MapError<E>>>,
) -> Result<(), MapError<E>>
where
    S: Stream,
    K: Eq + Hash + Clone,
    G: FnMut(&S::Item) -> K,
    F: FnMut(S::Item, &K) -> W,
    W: Future<Output = Result<U, E>> + Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
{
    let mut source = pin!(source.fuse());
    let mut running = JoinSet::new();
    let (mut numbers, mut keys_of) = (HashMap::new(), HashMap::new());
    let mut places = Places::new(options.is_ordered());
    let mut keys = Keys {
        waiting: VecDeque::new(),
        busy: HashSet::new(),
        parallelism: options.parallelism(),
    };
    loop {
        consume_budget().await;
        if source.is_done() && places.is_empty() {
            return Ok(());
        }
        let mut failure = None;
        if let Some((number, key, item)) = keys.next() {
            match catch_unwind(AssertUnwindSafe(|| work(item, &key))) {
                Ok(task) => {
                    let id = running.spawn(task).id();
                    numbers.insert(id, number);
                    keys_of.insert(id, key);
                }
                Err(panic) => {
                    keys.busy.remove(&key);
                    places.skip(number);
                    failure = Some(MapError::Panicked(message(panic.as_ref())));
                }
            }
        } else {
            let room = places.len() < options.parallelism() + WAITING_MAX;
            let pull = room && keys.waiting.len() < WAITING_MAX && !source.is_done();
            tokio::select! {
                biased;
                Some(joined) = running.join_next_with_id(), if !running.is_empty() => {
                    let id = joined.as_ref().map_or_else(tokio::task::JoinError::id, |done| done.0);
                    if let Some(key) = keys_of.remove(&id) {
                        keys.busy.remove(&key);
                    }
                    failure = note(joined, &mut numbers, &mut places);
                }
                () = outlet.wanted(), if places.is_ready() => {
                    if let Some(value) = places.take() {
                        outlet.put(Ok(value));
                    }
                }
                item = source.next(), if pull => {
                    if let Some(item) = item {
                        let key = key(&item);
                        keys.waiting.push_back((places.begin(), key, item));
                    }
                }
            }
        }
        if let Some(error) = failure
            && !options.resumes(&error)
        {
            return Err(error);
        }
    }
}
