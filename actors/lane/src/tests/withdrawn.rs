//! Calls that are taken back while they wait, and the load by which replicas are compared.

use std::sync::atomic::AtomicU32;

use super::*;

impl Bench {
    /// Makes a call that is taken back, if it waits, once `after` has passed, and again each time it has passed.
    async fn call_for(&self, request: u32, after: Duration) -> Result<u32, CallError> {
        let withdraw = async || {
            tokio::time::sleep(after).await;
            Withdrawal::Waiting
        };
        let call = self
            .lane
            .call_or_withdraw(request, options(60 * SECOND), withdraw);
        Ok(call.await?.complete())
    }
}

/// A lane of one slot whose backend serves.
async fn one_slot(script: Arc<Script>) -> Bench {
    let settings = LaneSettings {
        law: Law::Fixed,
        limit_initial: 1,
        limit_max: 1,
        ..LaneSettings::default()
    };
    let bench = lane(script, settings).await;
    assert_eq!(bench.call(7, 60 * SECOND).await.unwrap(), 8);
    bench
}

#[actix::test]
async fn a_call_that_waits_is_taken_back_and_one_that_runs_is_not() {
    let bench = one_slot(Script::new(|_, _| Play::Answer(5 * SECOND))).await;
    let (first, second, third) = tokio::join!(
        bench.call_for(1, SECOND),
        bench.call_for(3, SECOND),
        bench.call_for(5, 20 * SECOND),
    );
    assert_eq!(first.unwrap(), 2);
    assert!(matches!(second, Err(CallError::Withdrawn)), "{second:?}");
    assert_eq!(third.unwrap(), 6);
    assert_eq!(ended(&bench, Ending::Withdrawn), 1);
    assert_eq!(ended(&bench, Ending::Success), 3);
    let sent: Vec<_> = bench.script.log.lock().unwrap().clone();
    let sent: Vec<_> = sent.into_iter().map(|(request, ..)| request).collect();
    assert_eq!(sent, [7, 1, 5]);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_call_that_was_refused_is_taken_back_before_the_next_attempt() {
    let script = Script::new(|_, attempt| match attempt.request {
        7 => Play::Answer(SECOND / 10),
        _ => Play::Fail(Outcome::Rate {
            retry_after: Some(10 * SECOND),
            slow_down: false,
        }),
    });
    let bench = one_slot(script).await;
    let left = bench.call_for(1, SECOND).await;
    assert!(matches!(left, Err(CallError::Withdrawn)), "{left:?}");
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_call_whose_attempt_has_failed_is_not_taken_back() {
    let script = Script::new(|nth, _| match nth {
        0 => Play::Answer(SECOND / 10),
        1 => Play::Fail(Outcome::Fault),
        _ => Play::Answer(2 * SECOND),
    });
    let bench = one_slot(script).await;
    // The second attempt may have to wait for its backoff.
    assert_eq!(bench.call_for(1, SECOND / 100).await.unwrap(), 2);
    bench.assert_quiet().await;
}

#[actix::test]
async fn whatever_the_moment_a_call_is_either_answered_or_withdrawn_without_work() {
    let bench = one_slot(Script::new(|_, _| Play::Answer(SECOND / 20))).await;
    let before = bench.script.calls.load(SeqCst);
    let withdrawn = AtomicU32::new(0);
    let calls = (0..200_u32).map(|number| {
        let (bench, withdrawn) = (&bench, &withdrawn);
        async move {
            tokio::time::sleep(Duration::from_millis(u64::from(number * 7 % 400))).await;
            let after = Duration::from_micros(u64::from(number * 977 % 60_000));
            match bench.call_for(number * 2 + 1, after).await {
                Ok(answer) => assert_eq!(answer, number * 2 + 2),
                Err(CallError::Withdrawn) => {
                    withdrawn.fetch_add(1, SeqCst);
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
    futures_util::future::join_all(calls).await;
    let withdrawn = withdrawn.load(SeqCst);
    let made = bench.script.calls.load(SeqCst) - before;
    assert!(withdrawn > 20 && made > 5, "{withdrawn} {made}");
    assert_eq!(usize::try_from(withdrawn).unwrap() + made, 200);
    assert_eq!(ended(&bench, Ending::Withdrawn), u64::from(withdrawn));
    bench.assert_quiet().await;
}

#[actix::test]
async fn the_load_of_a_lane_is_known_without_asking_it() {
    let bench = one_slot(Script::new(|_, _| Play::Answer(SECOND))).await;
    let load = bench.lane.load();
    assert!(load.has_room(), "{load:?}");
    assert_eq!((load.limit, load.live), (1, 0));
    let (waiting, ..) = tokio::join!(
        async {
            tokio::time::sleep(SECOND / 10).await;
            bench.lane.load()
        },
        bench.call(1, 60 * SECOND),
        bench.call(3, 60 * SECOND),
    );
    assert_eq!(waiting.live, 2);
    let wait = waiting.wait(SECOND);
    assert!(wait > SECOND / 2 && wait < 4 * SECOND, "{wait:?}");
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_caller_that_wishes_its_running_call_back_all_the_time_does_not_occupy_its_thread() {
    let bench = one_slot(Script::new(|_, _| Play::Answer(2 * SECOND))).await;
    let wishes = AtomicU32::new(0);
    let withdraw = async || {
        let before = wishes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(before < 1000, "the call asks without a pause");
        Withdrawal::Waiting
    };
    let options = options(60 * SECOND);
    let ended = bench.lane.call_or_withdraw(1, options, withdraw).await;
    assert_eq!(ended.unwrap().complete(), 2);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_call_that_runs_is_taken_back_if_its_caller_says_so() {
    let bench = one_slot(Script::new(|_, _| Play::Answer(5 * SECOND))).await;
    let withdraw = async || {
        tokio::time::sleep(SECOND).await;
        Withdrawal::Running
    };
    let (left, next) = tokio::join!(
        bench
            .lane
            .call_or_withdraw(1, options(60 * SECOND), withdraw),
        bench.call(3, 60 * SECOND),
    );
    assert!(matches!(left, Err(CallError::Withdrawn)), "{left:?}");
    assert_eq!(next.unwrap(), 4);
    assert_eq!(ended(&bench, Ending::Withdrawn), 1);
    assert_eq!(ended(&bench, Ending::Success), 2);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_failure_is_not_repeated_for_a_call_that_is_made_elsewhere() {
    let script = Script::new(|nth, _| match nth {
        0 => Play::Answer(SECOND / 10),
        1 => Play::Fail(Outcome::Limit),
        _ => Play::Fail(Outcome::Fault),
    });
    let bench = one_slot(script).await;
    let mut options = options(60 * SECOND);
    options.repeats = Repeats::Refused;
    let failed = bench.lane.call(1, options).await;
    // The refusal is repeated, the failure is not.
    assert!(
        matches!(failed, Err(CallError::Failed { attempts: 2, .. })),
        "{failed:?}"
    );
    bench.assert_quiet().await;
}
