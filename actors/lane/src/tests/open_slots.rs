//! Calls that begin in open slots: the same bounds, endings and restarts as for those that were offered.

use super::*;

const LIMIT: u32 = 3;

pub(super) async fn warm(script: Arc<Script>) -> Bench {
    let settings = LaneSettings {
        law: Law::Fixed,
        limit_initial: LIMIT,
        limit_max: LIMIT,
        ..LaneSettings::default()
    };
    let bench = lane(script, settings).await;
    // The first is the wake call; the others make the pool hire a worker for each slot.
    bench.call(1, 60 * SECOND).await.unwrap();
    let calls = (0..LIMIT).map(|n| bench.call(n, 60 * SECOND));
    for served in futures_util::future::join_all(calls).await {
        served.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    assert!(bench.is_open());
    bench
}

impl Bench {
    pub(super) fn is_open(&self) -> bool {
        self.lane.inner.attempts.slots.is_open()
    }

    /// Returns the attempts that began without being offered.
    pub(super) fn unoffered(&self) -> u64 {
        self.lane.inner.attempts.slots.begun()
    }
}

fn echo() -> Arc<Script> {
    Script::new(|_, _| Play::Answer(SECOND / 10))
}

#[actix::test]
async fn while_nobody_waits_calls_begin_without_the_pool() {
    let bench = warm(echo()).await;
    let before = bench.unoffered();
    for number in 0..50 {
        bench.call(number, 60 * SECOND).await.unwrap();
    }
    assert_eq!(bench.unoffered() - before, 50);
    let snapshot = bench.lane.snapshot().await;
    assert_eq!(snapshot.pool.in_flight, 0);
    assert_eq!(ended(&bench, Ending::Success), 54);
    bench.assert_quiet().await;
}

#[actix::test]
async fn the_limit_holds_and_those_who_wait_are_served_in_turn() {
    let bench = warm(echo()).await;
    bench.script.most.store(0, SeqCst);
    let before = bench.unoffered();
    let calls = (0..100).map(|n| bench.call(n, 600 * SECOND));
    let mut calls = Box::pin(futures_util::future::join_all(calls));
    let early = tokio::time::timeout(SECOND / 20, &mut calls).await;
    assert!(early.is_err());
    assert!(!bench.is_open(), "a call waits");
    let snapshot = bench.lane.snapshot().await;
    assert_eq!(snapshot.pool.in_flight, LIMIT);
    assert_eq!(snapshot.pool.queued, 97);
    assert!(calls.await.iter().all(Result::is_ok));
    assert_eq!(bench.script.most.load(SeqCst), LIMIT as usize);
    assert_eq!(bench.unoffered() - before, u64::from(LIMIT));
    bench.assert_quiet().await;
    assert!(bench.is_open(), "nobody waits any more");
}

#[actix::test]
async fn a_call_that_leaves_an_open_slot_gives_it_back_and_is_counted_once() {
    let bench = warm(Script::new(|_, attempt| match attempt.request {
        100.. => Play::Hang,
        _ => Play::Answer(SECOND / 10),
    }))
    .await;
    for number in 100..120 {
        let call = bench.call(number, 60 * SECOND);
        let left = tokio::time::timeout(SECOND / 10, call).await;
        assert!(left.is_err());
        tokio::time::sleep(SECOND / 10).await;
    }
    assert_eq!(ended(&bench, Ending::Cancelled), 20);
    bench.assert_quiet().await;
    bench.call(1, SECOND).await.unwrap();
}

#[actix::test]
async fn a_refusal_closes_the_slots_at_once_and_the_call_is_made_again() {
    let refused = AtomicUsize::new(0);
    let bench = warm(Script::new(move |_, attempt| {
        if attempt.request == 100 && refused.fetch_add(1, SeqCst) == 0 {
            return Play::Fail(Outcome::Limit);
        }
        Play::Answer(SECOND / 10)
    }))
    .await;
    let reply = bench.lane.call(100, options(60 * SECOND)).await.unwrap();
    assert_eq!(reply.attempts(), 1, "a refusal uses no attempt");
    reply.complete();
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_panic_in_an_open_slot_costs_one_attempt_and_restarts_its_worker() {
    let panicked = AtomicUsize::new(0);
    let bench = warm(Script::new(move |_, attempt| {
        if attempt.request == 100 && panicked.fetch_add(1, SeqCst) == 0 {
            return Play::Panic(SECOND / 10);
        }
        Play::Answer(SECOND / 10)
    }))
    .await;
    let call = CallOptions {
        repeats: Repeats::FailuresAndPanics,
        ..options(60 * SECOND)
    };
    let reply = bench.lane.call(100, call).await.unwrap();
    assert_eq!(reply.attempts(), 2);
    reply.complete();
    bench.assert_quiet().await;
    let snapshot = bench.lane.snapshot().await;
    assert_eq!(snapshot.worker_restarts, 1);
    assert_eq!(snapshot.workers_idle, LIMIT as usize);
    assert!(bench.is_open());
}

#[actix::test]
async fn a_cut_off_reaches_attempts_of_which_the_pool_has_not_read_yet() {
    let bench = warm(Script::new(|_, attempt| match attempt.request {
        100.. => Play::Hang,
        _ => Play::Answer(SECOND / 10),
    }))
    .await;
    let call = bench.call(100, 60 * SECOND);
    let cut = async {
        tokio::task::yield_now().await;
        bench.lane.cut_off().await
    };
    let (ended_as, cut) = tokio::join!(call, cut);
    assert_eq!(cut, 1);
    assert!(matches!(ended_as, Err(CallError::Drained)), "{ended_as:?}");
    assert_eq!(ended(&bench, Ending::Drained), 1);
    bench.assert_quiet().await;
}
