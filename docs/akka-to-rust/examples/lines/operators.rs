//! Chapter 23.

use std::{cell::Cell, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use kebne_streams::{
    BufferPolicy, FlowExt, RestartSettings,
    backoff::Backoff,
    restart_source,
    testkit::{ProbedSource, SinkProbe, source_probe},
};

use crate::{MS, Part, say, settle, words};

/// Reads the first element, sends more while nobody reads, and reads what is left of them.
async fn away<S: Stream<Item = u32>>(
    flow: impl FnOnce(ProbedSource<u32>) -> S,
    reads: usize,
) -> String {
    let (source, mut feed) = source_probe();
    let mut sink = SinkProbe::new(flow(source));
    feed.send(1);
    sink.next().await;
    for reading in 2..=5 {
        feed.send(reading);
    }
    settle().await;
    let mut seen = Vec::new();
    for _ in 0..reads {
        seen.extend(sink.next().await);
    }
    words(seen)
}

fn broken(first: u32) -> impl Stream<Item = Result<u32, &'static str>> {
    stream::iter([Ok(first), Err("broken")])
}

pub(crate) async fn run() -> Part {
    let pulled = Cell::new(0);
    let mut readings = stream::iter(1..=5).inspect(|_| pulled.set(pulled.get() + 1));
    let before = pulled.get();
    let first = readings.by_ref().count().await;
    say(&format!(
        "23 pulled before it is run: {before}, by it: {}",
        pulled.get()
    ))?;
    let second = readings.count().await;
    say(&format!(
        "differs: 23 elements of two runs: {first} {second}"
    ))?;

    let latest = away(|source| source.conflate(|_, newest| newest), 1).await;
    let total = away(|source| source.conflate(|sum, reading| sum + reading), 1).await;
    say(&format!(
        "23 away for 2 to 5, the latest: {latest}, the sum: {total}"
    ))?;
    let last_two = away(|source| source.buffer(2, BufferPolicy::DropHead), 2).await;
    say(&format!("23 a buffer that drops its head: {last_two}"))?;
    let ends = away(|source| source.buffer(2, BufferPolicy::DropTail), 2).await;
    say(&format!("23 a buffer that drops its tail: {ends}"))?;

    let groups = stream::iter(1..=7).grouped_within(3, Duration::from_hours(1));
    let groups: Vec<_> = groups.map(words).collect().await;
    say(&format!("23 groups: {}", groups.join(" | ")))?;

    let recover = |_: &&str| Some(stream::iter([Ok(8), Ok(9)]));
    let recovered: Vec<_> = broken(1)
        .recover_with_retries(Some(1), recover)
        .collect()
        .await;
    let recovered = words(recovered.into_iter().flatten());
    say(&format!("23 recovered: {recovered}"))?;
    let failed = stream::iter([Err("broken")]);
    let overtaken = stream::iter([Ok(1)])
        .chain(failed)
        .recover_with_retries(Some(1), recover);
    let kept = overtaken.collect::<Vec<_>>().await.contains(&Ok(1));
    say(&format!(
        "differs: 23 an element in front of a source that has failed is kept: {kept}"
    ))?;

    let settings = RestartSettings::new(Backoff::new(10 * MS, 10 * MS, 0.0)?)
        .max_restarts(2, Duration::from_mins(1))
        .on_failures_only();
    let mut starts = 0;
    let restarted = restart_source(settings, move || {
        starts += 1;
        broken(starts)
    });
    let restarted: Vec<_> = restarted.collect().await;
    let failed = restarted.last().is_some_and(Result::is_err);
    let seen = words(restarted.into_iter().flatten());
    say(&format!(
        "23 restarted twice: {seen}, then it fails: {failed}"
    ))?;
    Ok(())
}
