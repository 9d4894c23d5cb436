//! Attempts that run inside the future of their call end like those that are tasks.

use super::{open_slots::warm, *};

fn in_place() -> CallOptions {
    options(60 * SECOND).in_place()
}

/// Answers requests below 100 after a while, and plays others as told.
fn playing(play: impl Fn() -> Play + Send + Sync + 'static) -> Arc<Script> {
    Script::new(move |_, attempt| match attempt.request {
        100.. => play(),
        _ => Play::Answer(SECOND / 10),
    })
}

#[actix::test]
async fn a_caller_that_leaves_cancels_its_attempt_at_once() {
    let bench = warm(playing(|| Play::Hang)).await;
    let before = bench.unoffered();
    for _ in 0..10 {
        let call = bench.lane.call(100, in_place());
        assert!(tokio::time::timeout(SECOND, call).await.is_err());
        // The attempt notices it when its turn comes, without a timer.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.script.in_flight.load(SeqCst), 0);
        tokio::time::sleep(SECOND).await;
    }
    assert!(bench.unoffered() > before);
    assert_eq!(ended(&bench, Ending::Cancelled), 10);
    bench.assert_quiet().await;
}

#[actix::test]
async fn the_rest_of_a_stream_goes_on_without_the_call() {
    let bench = warm(playing(|| Play::Stream(5 * SECOND))).await;
    let before = bench.unoffered();
    let start = tokio::time::Instant::now();
    let reply = bench.lane.call(100, in_place()).await.unwrap();
    assert!(start.elapsed() < SECOND);
    assert_eq!(bench.unoffered() - before, 1);
    assert_eq!(bench.script.in_flight.load(SeqCst), 1);
    let (_, guard) = reply.into_parts();
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(bench.script.in_flight.load(SeqCst), 0);
    guard.finish(Ending::Success);
    bench.assert_quiet().await;
    assert!(bench.is_open(), "the slot is free again");
}

#[actix::test]
async fn a_caller_that_leaves_a_stream_cancels_it() {
    let bench = warm(playing(|| Play::Stream(500 * SECOND))).await;
    let reply = bench.lane.call(100, in_place()).await.unwrap();
    drop(reply);
    bench.assert_quiet().await;
    assert_eq!(ended(&bench, Ending::Cancelled), 1);
}

#[actix::test]
async fn a_panic_costs_one_attempt() {
    let bench = warm(playing(|| Play::Panic(SECOND / 10))).await;
    let error = bench.lane.call(100, in_place()).await.unwrap_err();
    assert!(
        matches!(error, CallError::Panicked { attempts: 1 }),
        "{error:?}"
    );
    assert_eq!(ended(&bench, Ending::Panic), 1);
    bench.assert_quiet().await;
    assert_eq!(bench.lane.snapshot().await.worker_restarts, 1);
    bench.call(2, SECOND).await.unwrap();
}

#[actix::test]
async fn a_failed_attempt_is_made_again() {
    let failed = AtomicUsize::new(0);
    let bench = warm(playing(move || match failed.fetch_add(1, SeqCst) {
        0 => Play::Fail(Outcome::Fault),
        _ => Play::Answer(SECOND / 10),
    }))
    .await;
    let reply = bench.lane.call(100, in_place()).await.unwrap();
    assert_eq!(reply.attempts(), 2);
    reply.complete();
    bench.assert_quiet().await;
}

#[actix::test]
async fn an_attempt_whose_time_is_over_ends() {
    let bench = warm(playing(|| Play::Hang)).await;
    let call = CallOptions {
        deadline: 2 * SECOND,
        repeats: Repeats::Undone,
        ..in_place()
    };
    let error = bench.lane.call(100, call).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error:?}");
    bench.assert_quiet().await;
}
