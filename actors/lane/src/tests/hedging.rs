//! Two attempts of one call: one answer, one ending, nothing left behind.

use super::*;

/// Requests from here on are the ones that a test looks at; the others teach the lane that an answer takes 100 ms.
pub(super) const LATE: u32 = 1000;
pub(super) const ANSWER: Duration = Duration::from_millis(100);

/// Starts a lane that hedges and has seen enough answers to know when an attempt is late. `behave` says what becomes
/// of the first, second, ... attempt of a call that a test looks at.
pub(super) async fn taught(behave: impl Fn(u32, u32) -> Play + Send + Sync + 'static) -> Bench {
    let seen = Mutex::new(std::collections::BTreeMap::<u32, u32>::new());
    let script = Script::new(move |_, attempt| {
        if attempt.request < LATE {
            return Play::Answer(ANSWER);
        }
        let mut seen = seen.lock().unwrap();
        let nth = seen.entry(attempt.request).or_default();
        *nth += 1;
        behave(attempt.request, *nth)
    });
    let settings = LaneSettings {
        hedge_ratio: 0.2,
        ..LaneSettings::default()
    };
    let bench = lane(script, settings).await;
    for number in 0..120 {
        bench.hedged(number).await.unwrap().complete();
    }
    let pool = bench.lane.snapshot().await.pool;
    assert!(
        pool.hedge_after.is_some_and(|after| after < SECOND),
        "{pool:?}"
    );
    assert_eq!(pool.hedges_sent, 0);
    bench
}

impl Bench {
    pub(super) async fn hedged(&self, request: u32) -> Result<Reply<u32>, CallError> {
        let options = CallOptions {
            hedge: true,
            repeats: Repeats::FailuresAndPanics,
            ..options(20 * SECOND)
        };
        self.lane.call(request, options).await
    }

    pub(super) async fn hedges(&self) -> (u64, u64) {
        let pool = self.lane.snapshot().await.pool;
        (pool.hedges_sent, pool.hedges_won)
    }
}

#[actix::test]
async fn a_late_attempt_is_doubled_and_the_first_answer_counts() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Hang,
        _ => Play::Answer(ANSWER),
    })
    .await;
    let start = tokio::time::Instant::now();
    let reply = bench.hedged(LATE).await.unwrap();
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert_eq!(reply.attempts(), 2);
    assert_eq!(reply.complete(), LATE + 1);
    tokio::time::sleep(ANSWER).await;
    assert_eq!(bench.script.in_flight.load(SeqCst), 0, "the loser goes on");
    assert_eq!(bench.hedges().await, (1, 1));
    assert_eq!(ended(&bench, Ending::Success), 121);
    bench.assert_quiet().await;
}

#[actix::test]
async fn an_attempt_that_answers_after_all_wins_over_its_hedge() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Answer(SECOND),
        _ => Play::Hang,
    })
    .await;
    let reply = bench.hedged(LATE).await.unwrap();
    assert_eq!(reply.attempts(), 1);
    reply.complete();
    assert_eq!(bench.hedges().await, (1, 0));
    bench.assert_quiet().await;
    assert_eq!(ended(&bench, Ending::Success), 121);
}

#[actix::test]
async fn a_stream_that_began_is_never_doubled_and_one_that_wins_runs_on() {
    let bench = taught(|request, nth| match (request, nth) {
        (LATE, _) | (_, 2) => Play::Stream(3 * SECOND),
        _ => Play::Hang,
    })
    .await;
    let begun = bench.hedged(LATE).await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(bench.hedges().await, (0, 0));
    begun.complete();
    let won = bench.hedged(LATE + 1).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let running = bench.script.in_flight.load(SeqCst);
    assert_eq!(running, 1, "the loser is cancelled, the winner is not");
    tokio::time::sleep(3 * SECOND).await;
    won.complete();
    assert_eq!(bench.hedges().await, (1, 1));
    bench.assert_quiet().await;
}

#[actix::test]
async fn the_panic_of_one_attempt_does_not_condemn_the_other() {
    let bench = taught(|request, nth| match (request, nth) {
        // The first attempt panics while the second one runs; then the other way round.
        (LATE, 1) => Play::Panic(SECOND),
        (LATE, _) => Play::Answer(3 * SECOND),
        (_, 1) => Play::Answer(3 * SECOND),
        _ => Play::Panic(SECOND),
    })
    .await;
    for (request, attempts) in [(LATE, 2), (LATE + 1, 1)] {
        let reply = bench.hedged(request).await.unwrap();
        assert_eq!(reply.attempts(), attempts);
        reply.complete();
    }
    assert_eq!(bench.hedges().await, (2, 1));
    assert_eq!(bench.lane.snapshot().await.worker_restarts, 2);
    assert_eq!(ended(&bench, Ending::Success), 122);
    assert_eq!(ended(&bench, Ending::Panic), 0);
    bench.assert_quiet().await;
}

#[actix::test]
async fn an_attempt_that_panics_as_the_other_answers_does_not_decide() {
    let end = Mutex::new(None);
    let bench = taught(move |_, nth| {
        let now = tokio::time::Instant::now();
        let end = *end.lock().unwrap().get_or_insert(now + SECOND);
        match nth {
            1 => Play::Panic(end - now),
            _ => Play::Answer(end - now),
        }
    })
    .await;
    bench.hedged(LATE).await.unwrap().complete();
    assert_eq!(bench.hedges().await, (1, 1));
    assert_eq!(ended(&bench, Ending::Success), 121);
    assert_eq!(bench.lane.snapshot().await.worker_restarts, 1);
    bench.assert_quiet().await;
}

#[tokio::test]
async fn an_attempt_that_begins_after_the_answer_is_cancelled_before_it_is_made() {
    let permit = kebne_actors::work_pulling::permits::Permits::new(1)
        .take()
        .unwrap();
    let shared = Arc::new(job::Shared::new(permit));
    let (outbox, mut answer) = tokio::sync::oneshot::channel();
    let call: job::Job<Script> = job::Job::new(
        1,
        options(SECOND),
        kebne_control::Timestamp::ZERO,
        outbox,
        shared,
    );
    let [first, second] = [1, 2].map(kebne_control::AttemptId);
    let running = call.begin(first);
    let success = |response| job::CallSuccess {
        response,
        attempts: 1,
        waited: Duration::ZERO,
    };
    assert!(call.answer(first, success(7)));
    assert!(!running.is_cancelled(), "the winner may go on streaming");
    assert!(call.begin(second).is_cancelled());
    assert!(!call.answer(second, success(8)), "one answer");
    assert!(call.is_answered_by(first) && !call.is_answered_by(second));
    assert_eq!(answer.try_recv().unwrap().unwrap().response, 7);
}

#[actix::test]
async fn when_both_fail_the_call_is_tried_again() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Panic(SECOND),
        2 => Play::Panic(3 * SECOND),
        _ => Play::Answer(ANSWER),
    })
    .await;
    let reply = bench.hedged(LATE).await.unwrap();
    assert_eq!(reply.attempts(), 3);
    reply.complete();
    assert_eq!(bench.hedges().await, (1, 0));
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_callers_own_fault_ends_both_attempts() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Hang,
        _ => Play::Fail(Outcome::Client),
    })
    .await;
    let failed = bench.hedged(LATE).await;
    assert!(
        matches!(failed, Err(CallError::Failed { .. })),
        "{failed:?}"
    );
    assert_eq!(ended(&bench, Ending::Rejected), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_caller_that_leaves_cancels_both_and_is_counted_once() {
    let bench = taught(|_, _| Play::Hang).await;
    let left = tokio::time::timeout(2 * SECOND, bench.hedged(LATE)).await;
    assert!(left.is_err());
    assert_eq!(bench.hedges().await, (1, 0));
    bench.assert_quiet().await;
    assert_eq!(ended(&bench, Ending::Cancelled), 1);
}

#[actix::test]
async fn a_cut_off_counts_a_doubled_call_once() {
    let bench = taught(|_, _| Play::Hang).await;
    let cut = async {
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(bench.lane.snapshot().await.pool.in_flight, 2);
        bench.lane.cut_off().await
    };
    let (drained, cut) = tokio::join!(bench.hedged(LATE), cut);
    assert!(matches!(drained, Err(CallError::Drained)), "{drained:?}");
    assert_eq!(cut, 1);
    assert_eq!(ended(&bench, Ending::Drained), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn in_a_storm_with_hedges_the_books_balance() {
    let dice = Mutex::new(Dice::seeded(11));
    let bench = taught(move |_, _| {
        let mut dice = dice.lock().unwrap();
        let after = ANSWER.mul_f64(0.5 + 8.0 * dice.unit().powi(4));
        match dice.unit() {
            roll if roll < 0.04 => Play::Fail(Outcome::Fault),
            roll if roll < 0.08 => Play::Panic(after),
            roll if roll < 0.10 => Play::Hang,
            roll if roll < 0.12 => Play::PanicInStream,
            roll if roll < 0.30 => Play::Stream(after),
            _ => Play::Answer(after),
        }
    })
    .await;
    let calls = (0..600).map(|number| {
        let bench = &bench;
        async move {
            tokio::time::sleep(SECOND / 4 * number).await;
            let Ok(reply) = bench.hedged(LATE + number).await else {
                return;
            };
            if number % 7 == 0 {
                return;
            }
            tokio::time::sleep(2 * SECOND).await;
            reply.complete();
        }
    });
    futures_util::future::join_all(calls).await;
    bench.assert_quiet().await;
    let (sent, won) = bench.hedges().await;
    assert!(sent > 20 && won > 5 && won < sent, "{sent} sent, {won} won");
    let books = bench.lane.endings();
    assert_eq!(books.calls, 720);
    assert_eq!(books.ended.iter().sum::<u64>(), 720);
    // Every seventh caller drops its answer; the others hang on to a stream that broke or not.
    assert!(books.of(Ending::Success) > 560, "{books:?}");
}
