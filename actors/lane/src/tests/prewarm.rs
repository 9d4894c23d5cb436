//! Waking before any caller asks, in virtual time.

use super::*;

/// The lane's own call, told from callers' calls.
const WAKE: u32 = 1000;

async fn warmable(script: Arc<Script>, settings: LaneSettings) -> Bench {
    build(script, settings, |lane| {
        lane.wake_request(WAKE, options(600 * SECOND))
    })
    .await
}

/// A backend that holds the first call until it has loaded, and answers in a second from then on.
fn holding(load: Duration) -> Arc<Script> {
    let start = tokio::time::Instant::now();
    Script::new(move |_, _| {
        let rest = load.saturating_sub(start.elapsed());
        Play::Answer(rest.max(SECOND))
    })
}

impl Bench {
    fn sent(&self, request: u32) -> usize {
        let log = self.script.log.lock().unwrap();
        log.iter().filter(|entry| entry.0 == request).count()
    }

    async fn prewarms(&self) -> EndingCounts {
        self.lane.snapshot().await.prewarms
    }
}

#[actix::test]
async fn a_prewarm_wakes_the_backend_once_and_is_no_callers_call() {
    let bench = warmable(holding(90 * SECOND), LaneSettings::default()).await;
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Sent));
    tokio::time::sleep(SECOND).await;
    for _ in 0..5 {
        assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Joined));
    }
    // It outlasts the minute that an ordinary attempt may take.
    tokio::time::sleep(92 * SECOND).await;
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Awake));
    assert_eq!(bench.sent(WAKE), 1);
    assert!(
        bench.script.log.lock().unwrap()[0].2,
        "it was sent as a wake call"
    );
    let prewarms = bench.prewarms().await;
    assert_eq!((prewarms.calls, prewarms.of(Ending::Success)), (1, 1));
    assert_eq!(bench.lane.endings(), EndingCounts::default());
    bench.assert_quiet().await;
}

#[actix::test]
async fn the_wake_request_can_be_replaced() {
    let bench = warmable(holding(Duration::ZERO), LaneSettings::default()).await;
    bench.lane.set_wake_request(WAKE + 1, options(600 * SECOND));
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Sent));
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!((bench.sent(WAKE), bench.sent(WAKE + 1)), (0, 1));
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_lane_that_continues_another_serves_at_its_level_at_once() {
    let bench = lane(holding(Duration::ZERO), LaneSettings::default()).await;
    // It climbs while callers keep coming.
    for round in 0..60 {
        let calls = (0..20).map(|n| bench.call(round * 20 + n, 60 * SECOND));
        futures_util::future::join_all(calls).await;
    }
    let level = bench.lane.limit();
    assert!(level > 8, "{level}");
    let other = |more: fn(LaneBuilder<Script>, &LaneHandle<Script>) -> LaneBuilder<Script>| {
        let lane = LaneBuilder::new("y", Arc::clone(&bench.script));
        more(lane, &bench.lane).start(&bench.system)
    };
    let anew = other(|lane, _| lane).await.unwrap();
    let continued = other(LaneBuilder::continues).await.unwrap();
    assert_ne!(anew.state(), LaneState::Steady);
    assert_eq!(continued.state(), LaneState::Steady);
    assert!(
        continued.limit() * 2 > level,
        "{} of {level}",
        continued.limit()
    );
    assert!(anew.limit() * 2 < level, "{} of {level}", anew.limit());
    bench.assert_quiet().await;
}

#[actix::test]
async fn callers_join_the_prewarm_and_are_released_at_the_limits_pace() {
    let bench = warmable(holding(20 * SECOND), LaneSettings::default()).await;
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Sent));
    tokio::time::sleep(SECOND).await;
    let calls = (0..50).map(|n| bench.call(n, 60 * SECOND));
    let calls = futures_util::future::join_all(calls);
    let watch = async {
        tokio::time::sleep(18 * SECOND).await;
        assert_eq!(bench.script.calls.load(SeqCst), 1, "the callers are held");
        tokio::time::sleep(SECOND + SECOND / 2).await;
        // Ready, and not fast: the limit starts small.
        assert!(bench.script.in_flight.load(SeqCst) <= 4);
        assert!(bench.script.calls.load(SeqCst) > 1);
    };
    let (results, ()) = tokio::join!(calls, watch);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(ended(&bench, Ending::Success), 50);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_prewarm_joins_the_callers_that_wake_the_backend_already() {
    let start = tokio::time::Instant::now();
    let script = Script::new(
        move |_, _| match (10 * SECOND).checked_sub(start.elapsed()) {
            Some(left) => Play::Fail(Outcome::Cold {
                estimated: Some(left),
            }),
            None => Play::Answer(SECOND),
        },
    );
    let bench = warmable(script, LaneSettings::default()).await;
    let call = bench.call(1, 60 * SECOND);
    let prewarm = async {
        // The caller waits for the next probe.
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(bench.lane.state(), kebne_control::LaneState::Cold);
        assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Joined));
    };
    let (answer, ()) = tokio::join!(call, prewarm);
    answer.unwrap();
    assert_eq!(bench.sent(WAKE), 0);
    assert_eq!(bench.prewarms().await.calls, 0);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_prewarm_polls_a_loading_backend_and_repeats_nothing_meanwhile() {
    let start = tokio::time::Instant::now();
    let script = Script::new(move |_, _| {
        let left = (10 * SECOND).checked_sub(start.elapsed());
        match left {
            Some(left) => Play::Fail(Outcome::Cold {
                estimated: Some(left),
            }),
            None => Play::Answer(SECOND),
        }
    });
    let bench = warmable(script, LaneSettings::default()).await;
    for _ in 0..10 {
        let expected = [Ok(Prewarm::Sent), Ok(Prewarm::Joined)];
        assert!(expected.contains(&bench.lane.prewarm().await));
        tokio::time::sleep(SECOND / 2).await;
    }
    tokio::time::sleep(10 * SECOND).await;
    let prewarms = bench.prewarms().await;
    assert_eq!((prewarms.calls, prewarms.of(Ending::Success)), (1, 1));
    assert!((5..=12).contains(&bench.sent(WAKE)), "{}", bench.sent(WAKE));
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Awake));
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_prewarm_that_fails_ends_once_and_the_next_one_tries_again() {
    let script = Script::new(|nth, _| match nth {
        0 => Play::Fail(Outcome::Client),
        _ => Play::Answer(SECOND),
    });
    let bench = warmable(script, LaneSettings::default()).await;
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Sent));
    tokio::time::sleep(SECOND).await;
    let prewarms = bench.prewarms().await;
    assert_eq!((prewarms.calls, prewarms.of(Ending::Rejected)), (1, 1));
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Sent));
    tokio::time::sleep(2 * SECOND).await;
    let prewarms = bench.prewarms().await;
    assert_eq!((prewarms.calls, prewarms.of(Ending::Success)), (2, 1));
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_lane_without_a_wake_call_says_so() {
    let bench = lane(holding(SECOND), LaneSettings::default()).await;
    assert_eq!(bench.lane.prewarm().await, Err(PrewarmError::Unset));
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_closed_lane_refuses_the_prewarm() {
    let bench = warmable(holding(SECOND), LaneSettings::default()).await;
    bench.lane.drain().await;
    let refused = bench.lane.prewarm().await;
    let Err(PrewarmError::Refused { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason, RefusalReason::Draining);
    assert_eq!(bench.prewarms().await.of(Ending::Shed), 1);
    bench.assert_quiet().await;
}

async fn assert_no_hold_on_the_end(script: Arc<Script>) {
    let bench = warmable(script, LaneSettings::default()).await;
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Sent));
    tokio::time::sleep(SECOND).await;
    bench.lane.drain().await;
    let idle = tokio::time::timeout(SECOND, bench.lane.when_idle()).await;
    assert!(idle.is_ok(), "a wake call holds the drain back");
    let prewarms = bench.prewarms().await;
    assert_eq!((prewarms.calls, prewarms.of(Ending::Drained)), (1, 1));
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_prewarm_on_its_way_does_not_hold_the_end_of_the_lane_back() {
    assert_no_hold_on_the_end(Script::new(|_, _| Play::Hang)).await;
}

#[actix::test]
async fn a_prewarm_that_waits_for_its_time_does_not_hold_the_end_of_the_lane_back() {
    let cold = Outcome::Cold {
        estimated: Some(300 * SECOND),
    };
    assert_no_hold_on_the_end(Script::new(move |_, _| Play::Fail(cold))).await;
}

#[actix::test]
async fn the_prewarm_that_callers_wait_for_outlives_the_close() {
    let bench = warmable(holding(20 * SECOND), LaneSettings::default()).await;
    assert_eq!(bench.lane.prewarm().await, Ok(Prewarm::Sent));
    tokio::time::sleep(SECOND).await;
    let call = bench.call(1, 60 * SECOND);
    let close = async {
        tokio::time::sleep(SECOND).await;
        bench.lane.drain().await;
    };
    let (answer, ()) = tokio::join!(call, close);
    answer.unwrap();
    assert_eq!(bench.prewarms().await.of(Ending::Success), 1);
    bench.assert_quiet().await;
}
