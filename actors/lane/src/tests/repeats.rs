//! Which attempts are repeated, and what one call may teach the lane.

use super::*;

/// Requests of this number panic or fail, as the test says; the others are answered.
const POISON: u32 = 13;

async fn poisoned(play: fn() -> Play) -> Bench {
    let script = Script::new(move |_, attempt| {
        if attempt.request == POISON {
            play()
        } else {
            Play::Answer(SECOND / 10)
        }
    });
    let bench = lane(script, LaneSettings::default()).await;
    for number in 100..120 {
        bench.call(number, 10 * SECOND).await.unwrap();
    }
    bench
}

impl Bench {
    fn attempts_of(&self, request: u32) -> usize {
        let log = self.script.log.lock().unwrap();
        log.iter().filter(|entry| entry.0 == request).count()
    }
}

#[actix::test]
async fn a_request_that_panics_is_not_repeated() {
    let bench = poisoned(|| Play::Panic(Duration::ZERO)).await;
    let end = bench.call(POISON, 30 * SECOND).await;
    assert!(
        matches!(end, Err(CallError::Panicked { attempts: 1 })),
        "{end:?}"
    );
    assert_eq!(bench.attempts_of(POISON), 1);
    assert_eq!(ended(&bench, Ending::Panic), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn one_poisonous_request_does_not_close_the_backend_for_others() {
    let plays: [fn() -> Play; 2] = [
        || Play::Panic(Duration::ZERO),
        || Play::Fail(Outcome::Fault),
    ];
    for play in plays {
        let bench = poisoned(play).await;
        let options = CallOptions {
            repeats: Repeats::FailuresAndPanics,
            ..options(30 * SECOND)
        };
        let (limit, state) = (bench.lane.limit(), bench.lane.state());
        let end = bench.lane.call(POISON, options).await;
        assert!(end.is_err());
        assert!(
            bench.attempts_of(POISON) > 3,
            "it is repeated if that is wanted"
        );
        assert_eq!((bench.lane.limit(), bench.lane.state()), (limit, state));
        let report = bench.lane.snapshot().await.controller;
        assert!(report.fault_rate < 0.1, "{}", report.fault_rate);
        assert_eq!(bench.call(1, SECOND).await.unwrap(), 2);
        bench.assert_quiet().await;
        tokio::time::resume();
    }
}

#[actix::test]
async fn many_calls_that_fail_still_open_the_breaker() {
    let bench = poisoned(|| Play::Fail(Outcome::Fault)).await;
    let calls = (0..60).map(|_| bench.call(POISON, 10 * SECOND));
    futures_util::future::join_all(calls).await;
    assert_eq!(bench.lane.state(), LaneState::Open);
}

#[actix::test]
async fn only_an_idempotent_call_is_repeated_after_a_failure_that_may_have_had_an_effect() {
    let once = CallOptions::within(30 * SECOND);
    assert_eq!(once.repeats, Repeats::Undone);
    for (options, most) in [(once.clone(), 1), (once.idempotent(), 6)] {
        let bench = poisoned(|| Play::Fail(Outcome::Fault)).await;
        let end = bench.lane.call(POISON, options).await;
        let Err(error @ CallError::Failed { attempts, .. }) = end else {
            panic!("{end:?}");
        };
        assert!(attempts == most || (most > 1 && attempts > 2), "{attempts}");
        assert_eq!(bench.attempts_of(POISON), attempts as usize);
        assert!(!error.is_safe_to_repeat());
        assert_eq!(ended(&bench, Ending::Error), 1);
        bench.assert_quiet().await;
        tokio::time::resume();
    }
}

#[actix::test]
async fn a_call_that_timed_out_is_repeated_only_if_it_is_idempotent() {
    let settings = LaneSettings {
        attempt_timeout: HumanDuration(2 * SECOND),
        ..LaneSettings::default()
    };
    let script = Script::new(|nth, _| match nth {
        0 | 1 => Play::Answer(SECOND / 10),
        2 => Play::Hang,
        _ => Play::Answer(SECOND / 10),
    });
    let bench = lane(script, settings).await;
    bench.call(1, SECOND).await.unwrap();
    bench.call(1, SECOND).await.unwrap();
    let end = bench.lane.call(5, CallOptions::within(30 * SECOND)).await;
    let timed_out = matches!(end, Err(CallError::Timeout { attempts: 1, .. }));
    assert!(timed_out, "{end:?}");
    assert_eq!(bench.attempts_of(5), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn what_the_backend_did_not_do_is_repeated_in_any_case() {
    let outcomes = [Outcome::Limit, Outcome::Fault];
    for outcome in outcomes {
        let refused = AtomicUsize::new(0);
        let script = Script::new(move |_, attempt| {
            if attempt.request == POISON && refused.fetch_add(1, SeqCst) < 2 {
                return Play::FailSafely(outcome);
            }
            Play::Answer(SECOND / 10)
        });
        let bench = lane(script, LaneSettings::default()).await;
        for number in 100..110 {
            bench.call(number, 10 * SECOND).await.unwrap();
        }
        let reply = bench
            .lane
            .call(POISON, CallOptions::within(30 * SECOND))
            .await;
        assert_eq!(reply.unwrap().complete(), POISON + 1);
        assert_eq!(bench.attempts_of(POISON), 3);
        bench.assert_quiet().await;
        tokio::time::resume();
    }
}

#[actix::test]
async fn a_worker_that_backs_off_is_replaced() {
    let settings = LaneSettings {
        limit_initial: 2,
        limit_max: 2,
        ..LaneSettings::default()
    };
    let script = Script::new(|_, attempt| match attempt.request {
        // Slow enough that each panic counts as one of a row, whose backoff grows.
        0..100 => Play::Panic(SECOND / 4),
        _ => Play::Answer(SECOND / 10),
    });
    let bench = lane(script, settings).await;
    for number in 200..400 {
        bench.call(number, 10 * SECOND).await.unwrap();
    }
    for round in 0..4 {
        let two = (0..2).map(|number| bench.call(round * 2 + number, 10 * SECOND));
        let ends = futures_util::future::join_all(two).await;
        assert!(ends.iter().all(Result::is_err));
        let start = tokio::time::Instant::now();
        bench.call(200, 10 * SECOND).await.unwrap();
        let took = start.elapsed();
        assert!(took < SECOND / 5, "a call waited for a worker: {took:?}");
        let workers = bench.lane.snapshot().await.workers;
        assert!(workers <= 2, "{workers} workers");
        for number in 200..230 {
            bench.call(number, 10 * SECOND).await.unwrap();
        }
    }
    bench.assert_quiet().await;
}
