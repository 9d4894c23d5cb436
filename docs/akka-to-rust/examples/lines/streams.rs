//! The worked example, operator by operator.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use kebne_streams::{
    FlowExt, MapOptions, Pace, QueueOffer,
    backoff::Backoff,
    breaker::{BreakerError, BreakerSettings, CircuitBreaker},
    retry::Retry,
    source_queue,
};
use tokio::time::{Instant, sleep};

use crate::{MS, Part, SECOND, say, words};

async fn oks<T, E>(stream: impl Stream<Item = Result<T, E>>) -> Vec<T> {
    let all: Vec<_> = stream.collect().await;
    all.into_iter().flatten().collect()
}

pub(crate) async fn run() -> Part {
    map_async().await?;
    pace().await?;
    queues().await?;
    retry().await?;
    breaker().await
}

async fn map_async() -> Part {
    let unevenly = stream::iter(0..8).map_async(4, |n: u32| async move {
        sleep(MS * if n.is_multiple_of(2) { 120 } else { 20 }).await;
        Ok::<_, String>(n)
    });
    let order = words(oks(unevenly).await);
    say(&format!("9 mapAsync keeps the order: {order}"))?;

    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let counted = stream::iter(0..20).map_async(4, move |n: u32| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        async move {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            sleep(20 * MS).await;
            running.fetch_sub(1, SeqCst);
            Ok::<_, String>(n)
        }
    });
    oks(counted).await;
    let most = seen.load(SeqCst);
    say(&format!("9 mapAsync(4) runs at most: {most}"))?;

    let skipping = MapOptions::ordered(4).resuming(|_| true);
    let skips = stream::iter(0..6).map_async_with(skipping, |n: u32| async move {
        if n == 2 { Err("two") } else { Ok(n) }
    });
    let rest = words(oks(skips).await);
    say(&format!("9 a failure that is resumed is left out: {rest}"))?;

    let mut fails = stream::iter(0..2).map_async(2, |n: u32| async move {
        if n == 0 {
            pending::<()>().await;
        }
        Err::<(), _>("one")
    });
    if let Some(Err(error)) = fails.next().await {
        say(&format!("9 a failure does not wait for its turn: {error}"))?;
    }
    Ok(())
}

async fn pace() -> Part {
    let pace = Pace::new(1, Duration::from_hours(1))?.burst(3);
    let burst = stream::iter(0..9)
        .throttle(pace)
        .take_until(sleep(SECOND / 2));
    let passed = words(burst.collect::<Vec<u32>>().await);
    say(&format!("9 the bucket starts full: {passed}"))?;

    let enforced = stream::iter(0..9).throttle_enforcing(pace, |_| 1);
    let enforced: Vec<_> = enforced.collect().await;
    let fails = enforced.last().is_some_and(Result::is_err);
    say(&format!("9 enforcing fails: {fails}"))?;
    Ok(())
}

async fn queues() -> Part {
    let (queue, source) = source_queue::<u32, String>(2);
    let offers: Vec<_> = (0..6).map(|n| queue.offer(n)).collect();
    let last = match offers.last() {
        Some(QueueOffer::Dropped(_)) => "dropped",
        _ => "enqueued",
    };
    say(&format!("9 the last offer to a full queue: {last}"))?;
    queue.complete()?;
    drop(source);
    let closed = match queue.offer(9) {
        QueueOffer::Closed(_) => "closed",
        _ => "taken",
    };
    say(&format!("9 an offer to a closed queue: {closed}"))?;

    let mut held = stream::iter(0..9).buffer_or_fail(3);
    let mut failed = false;
    while let Some(element) = held.next().await {
        failed |= element.is_err();
        sleep(SECOND).await;
    }
    say(&format!("9 a buffer that overflows fails: {failed}"))?;
    Ok(())
}

async fn retry() -> Part {
    let backoff = Backoff::new(100 * MS, 500 * MS, 0.0)?;
    let start = Instant::now();
    let mut at = Vec::new();
    let attempt = || {
        at.push(start.elapsed().as_millis() / 50 * 50);
        async { Err::<(), _>("no") }
    };
    let _failed = Retry::times(3).backoff(backoff).run(attempt).await;
    say(&format!(
        "9 retry with backoff, attempts at ms: {}",
        words(at)
    ))?;
    Ok(())
}

async fn breaker() -> Part {
    let breaker = CircuitBreaker::new(BreakerSettings {
        max_failures: 2,
        call_timeout: SECOND,
        reset_timeout: 10 * SECOND,
        ..BreakerSettings::default()
    })?;
    let call = async |good: bool| {
        let called = breaker.call(async move { if good { Ok("ok") } else { Err("bad") } });
        match called.await {
            Ok(answer) => answer,
            Err(BreakerError::Failed(error)) => error,
            Err(BreakerError::Open { .. }) => "open",
            Err(BreakerError::Timeout { .. }) => "late",
        }
    };
    let mut seen = vec![call(false).await, call(false).await, call(true).await];
    sleep(11 * SECOND).await;
    seen.extend([call(false).await, call(true).await]);
    sleep(11 * SECOND).await;
    seen.extend([call(true).await, call(false).await, call(true).await]);
    say(&format!("9 breaker: {}", words(seen)))?;
    Ok(())
}
