//! L5: streams. Sources: Pekko's `stream-tests`, one specification for each operator, and the rules of Reactive
//! Streams.

mod ahead;
mod groups;
mod kill_switch;
mod map_async;
mod partitioned;
mod queue;
mod restart;
mod rules;
mod supervision;
mod throttle;
mod timeouts;

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, sleep},
};

use crate::{
    case::{Case, CaseResult, Failure, ensure, ensure_eq},
    driver::{
        Offered,
        streams::{Fault, Flow, Mapping, StreamDriver, Work},
    },
};

const MS: Duration = Duration::from_millis(1);
const SCRIPTED: Fault = Fault::Scripted("as scripted");

/// The cases, operator by operator.
pub(super) const CASES: &[&[Case<dyn StreamDriver>]] = &[
    throttle::CASES,
    map_async::CASES,
    partitioned::CASES,
    ahead::CASES,
    groups::CASES,
    restart::CASES,
    supervision::CASES,
    kill_switch::CASES,
    timeouts::CASES,
    queue::CASES,
    rules::CASES,
];

/// Streams these at once.
fn items(items: impl IntoIterator<Item = u64, IntoIter: Send + 'static>) -> Flow {
    stream::iter(items).map(Ok).boxed()
}

/// Streams these at once, and fails.
fn failing(items: impl IntoIterator<Item = u64, IntoIter: Send + 'static>) -> Flow {
    let fault = stream::iter([Err(SCRIPTED)]);
    stream::iter(items).map(Ok).chain(fault).boxed()
}

/// Streams each number after its pause in milliseconds.
fn after(items: impl IntoIterator<Item = (u32, u64), IntoIter: Send + 'static>) -> Flow {
    let paced = stream::iter(items).then(|(pause, item)| async move {
        sleep(MS * pause).await;
        Ok(item)
    });
    paced.boxed()
}

/// Feeds a source by hand, and sees what is taken and whether the source was dropped.
struct Feeder(mpsc::Sender<Result<u64, Fault>>);

/// Makes a source that is fed by hand.
fn fed() -> (Feeder, Flow) {
    let (sender, mut receiver) = mpsc::channel(1000);
    let mut failed = false;
    let flow = stream::poll_fn(move |context| {
        if failed {
            return Poll::Ready(None);
        }
        let polled = receiver.poll_recv(context);
        failed = matches!(polled, Poll::Ready(Some(Err(_))));
        polled
    });
    (Feeder(sender), flow.boxed())
}

impl Feeder {
    /// Feeds an element, if the source still is.
    fn feed(&self, item: u64) {
        let _source_is_gone = self.0.try_send(Ok(item));
    }

    /// Feeds elements, letting every task run after each.
    async fn feed_each(&self, items: impl IntoIterator<Item = u64>) {
        for item in items {
            self.feed(item);
            settle().await;
        }
    }

    fn fail(&self) {
        let _source_is_gone = self.0.try_send(Err(SCRIPTED));
    }

    /// Returns how many of what was fed still waits to be taken.
    fn untaken(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }

    fn is_dropped(&self) -> bool {
        self.0.is_closed()
    }
}

/// Collects a stream with the milliseconds at which each element came.
async fn timed<T>(flow: Flow<T>) -> Vec<(u128, Result<T, Fault>)> {
    let (start, mut seen) = (Instant::now(), Vec::new());
    let mut flow = flow;
    while let Some(item) = flow.next().await {
        seen.push((start.elapsed().as_millis(), item));
    }
    seen
}

/// Collects the milliseconds at which elements came; none may be an error.
async fn times<T>(flow: Flow<T>) -> Offered<Vec<u128>> {
    let mut times = Vec::new();
    for (at, item) in timed(flow).await {
        item.map_err(unexpected)?;
        times.push(at);
    }
    Ok(times)
}

/// Collects the elements; none may be an error.
async fn values<T>(flow: Flow<T>) -> Offered<Vec<T>> {
    let items: Vec<_> = flow.collect().await;
    items
        .into_iter()
        .map(|item| item.map_err(unexpected))
        .collect()
}

fn unexpected(fault: Fault) -> Failure {
    Failure::Failed(format!("the stream failed: {fault:?}"))
}

/// The next element must be this.
async fn expect<T: PartialEq + Debug>(flow: &mut Flow<T>, expected: T) -> CaseResult {
    ensure_eq("next", &flow.next().await, &Some(Ok(expected)))
}

/// The stream must fail with this now, and end.
async fn expect_fault<T: PartialEq + Debug>(flow: &mut Flow<T>, expected: Fault) -> CaseResult {
    ensure_eq("next", &flow.next().await, &Some(Err(expected)))?;
    ensure_eq("after the failure", &flow.next().await, &None)
}

/// The stream must end now.
async fn expect_end<T: PartialEq + Debug>(flow: &mut Flow<T>) -> CaseResult {
    ensure_eq("next", &flow.next().await, &None)
}

/// Nothing must come, and no end, for this long.
async fn expect_nothing<T: PartialEq + Debug>(flow: &mut Flow<T>, during: Duration) -> CaseResult {
    let seen = tokio::time::timeout(during, flow.next()).await;
    ensure(seen.is_err(), || {
        format!("expected nothing for {during:?}, saw {seen:?}")
    })
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// Works on up to so many elements, in order, and resumes after no failure.
fn ordered(parallelism: usize) -> Mapping {
    Mapping {
        parallelism,
        ordered: true,
        resume: None,
    }
}

/// As [`ordered`], emitting each element as it is done.
fn unordered(parallelism: usize) -> Mapping {
    Mapping {
        ordered: false,
        ..ordered(parallelism)
    }
}

/// As `mapping`, resuming after every failure.
fn resuming(mapping: &Mapping) -> Mapping {
    Mapping {
        resume: Some(Arc::new(|_| true)),
        ..mapping.clone()
    }
}

/// Counts the work that runs, that ran at most at a time, and that was begun.
#[derive(Clone, Default)]
struct Gauge {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

struct Underway(Arc<AtomicUsize>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Gauge {
    fn enter(&self) -> Underway {
        self.begun.fetch_add(1, SeqCst);
        let running = self.running.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(running, SeqCst);
        Underway(Arc::clone(&self.running))
    }

    fn running(&self) -> usize {
        self.running.load(SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(SeqCst)
    }

    fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    /// Takes as many milliseconds as the element says, and ends as `ending` says of it.
    fn ending(&self, ending: fn(u64) -> Result<u64, Fault>) -> Work {
        let gauge = self.clone();
        Box::new(move |item| {
            let underway = gauge.enter();
            async move {
                sleep(Duration::from_millis(item)).await;
                drop(underway);
                ending(item)
            }
            .boxed()
        })
    }

    /// Takes as many milliseconds as the element says.
    fn work(&self) -> Work {
        self.ending(Ok)
    }
}

/// Counts the elements that are taken from a source.
fn counted(
    flow: impl Stream<Item = Result<u64, Fault>> + Send + 'static,
) -> (Arc<AtomicUsize>, Flow) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let flow = flow.inspect(move |_| {
        count.fetch_add(1, SeqCst);
    });
    (taken, flow.boxed())
}
