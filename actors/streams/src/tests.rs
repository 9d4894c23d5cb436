mod ends;
mod gaps;
mod map_async;
mod pace;
mod read_ahead;
mod restart;

use std::{convert::Infallible, fmt::Debug};

use futures_util::stream::{self, BoxStream};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, sleep},
};

use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Collects a stream with the milliseconds at which each element arrived.
async fn timed<T>(stream: impl Stream<Item = T>) -> Vec<(u128, T)> {
    let start = Instant::now();
    let mut stream = std::pin::pin!(stream);
    let mut seen = Vec::new();
    while let Some(item) = stream.next().await {
        seen.push((start.elapsed().as_millis(), item));
    }
    seen
}

/// Collects the milliseconds at which elements arrived.
async fn times<T>(stream: impl Stream<Item = T>) -> Vec<u128> {
    timed(stream).await.into_iter().map(|seen| seen.0).collect()
}

/// Streams each number after its pause in milliseconds.
fn after(pauses: impl IntoIterator<Item = (u32, u32)>) -> BoxStream<'static, u32> {
    let pauses: Vec<_> = pauses.into_iter().collect();
    let paced = stream::iter(pauses).then(|(pause, item)| async move {
        sleep(MS * pause).await;
        item
    });
    paced.boxed()
}

/// Returns a source that the test feeds, and its sender, which shows when the source was dropped.
fn fed() -> (mpsc::Sender<u32>, BoxStream<'static, u32>) {
    let (feeder, mut fed) = mpsc::channel(100);
    (feeder, stream::poll_fn(move |cx| fed.poll_recv(cx)).boxed())
}

/// Runs every task that can run.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

fn oks<T: Debug, E: Debug>(items: Vec<Result<T, E>>) -> Vec<T> {
    items.into_iter().map(Result::unwrap).collect()
}
