//! A lane beyond help: it is closed, what began goes on, callers are refused, and it can be opened again.

use super::*;

impl Bench {
    /// Fails the pool or the controller until the lane is closed.
    async fn exhaust(&self, fail: impl Fn(&Self)) {
        for _ in 0..2000 {
            if self.lane.closed().is_some() {
                return;
            }
            fail(self);
            tokio::time::sleep(SECOND / 100).await;
        }
        panic!("it never closed");
    }

    /// Makes a call that must be served.
    async fn served(&self) {
        assert_eq!(self.call(7, 60 * SECOND).await.unwrap(), 8);
    }
}

async fn steady() -> Bench {
    let script = Script::new(|_, attempt| match attempt.request {
        0 => Play::Stream(30 * SECOND),
        1 => Play::Answer(30 * SECOND),
        2 => Play::Hang,
        _ => Play::Answer(SECOND / 10),
    });
    let settings = LaneSettings {
        limit_initial: 4,
        limit_max: 4,
        ..LaneSettings::default()
    };
    let bench = lane(script, settings).await;
    bench.served().await;
    bench
}

#[actix::test]
async fn a_lane_whose_restarts_are_used_up_is_closed_and_the_system_and_other_lanes_live() {
    let bench = steady().await;
    let script = Script::new(|_, _| Play::Answer(SECOND / 10));
    let other = LaneBuilder::new("other", script).start(&bench.system);
    let other = other.await.unwrap();
    let fails: [fn(&Bench); 2] = [
        Bench::fail_pool_if_it_runs,
        Bench::fail_controller_if_it_runs,
    ];
    for fail in fails {
        bench.exhaust(fail).await;
        let reason = bench.lane.closed().unwrap();
        assert!(reason.contains("as the test says"), "{reason}");
        for _ in 0..100 {
            let refused = bench.call(7, 60 * SECOND).await;
            assert!(
                matches!(refused, Err(CallError::Closed { attempts: 0 })),
                "{refused:?}"
            );
        }
        assert_eq!(bench.lane.prewarm().await, Err(PrewarmError::Closed));
        let snapshot = bench.lane.snapshot().await;
        assert_eq!(snapshot.closed, Some(reason));
        assert_eq!((snapshot.pool.queued, snapshot.pool.in_flight), (0, 0));
        let reply = other.call(1, options(SECOND)).await.unwrap();
        assert_eq!(reply.complete(), 2);
        let failed = tokio::time::timeout(60 * SECOND, bench.system.when_failed());
        assert!(failed.await.is_err());
        assert_eq!(bench.lane.reopen().await, Ok(true));
        assert_eq!(bench.lane.reopen().await, Ok(false));
        bench.served().await;
    }
    assert_eq!(ended(&bench, Ending::Shed), 200);
    assert_eq!(bench.lane.snapshot().await.closed, None);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_lane_that_is_closed_refuses_what_waits_and_sees_what_began_to_its_end() {
    let bench = steady().await;
    let stream = bench.lane.call(0, options(100 * SECOND)).await.unwrap();
    let (_, guard) = stream.into_parts();
    let close = async {
        tokio::time::sleep(SECOND).await;
        assert_eq!(bench.lane.close("maintenance").await, Ok(true));
        assert_eq!(bench.lane.close("again").await, Ok(false));
        assert_eq!(bench.lane.closed().as_deref(), Some("maintenance"));
    };
    let whole = bench.call(1, 100 * SECOND);
    let hangs = async {
        tokio::time::sleep(SECOND / 10).await;
        let (one, two) = tokio::join!(bench.call(2, 10 * SECOND), bench.call(2, 20 * SECOND));
        [one, two]
    };
    let waits = async {
        tokio::time::sleep(SECOND / 5).await;
        bench.call(7, 100 * SECOND).await
    };
    let (whole, hangs, waits, ()) = tokio::join!(whole, hangs, waits, close);
    assert_eq!(whole.unwrap(), 2, "an answer on its way is delivered");
    for hang in hangs {
        let timed_out = matches!(hang, Err(CallError::Timeout { attempts: 1, .. }));
        assert!(timed_out, "{hang:?}");
    }
    assert!(
        matches!(waits, Err(CallError::Closed { attempts: 0 })),
        "{waits:?}"
    );
    tokio::time::sleep(5 * SECOND).await;
    guard.finish(Ending::Success);
    bench.assert_quiet().await;
    let books = bench.lane.endings();
    assert_eq!(books.of(Ending::Success), 3, "{books:?}");
    assert_eq!(books.of(Ending::Timeout), 2, "{books:?}");
    assert_eq!(books.of(Ending::Shed), 1, "{books:?}");
    assert_eq!(bench.lane.reopen().await, Ok(true));
    bench.served().await;
}

#[actix::test]
async fn a_lane_opened_while_a_stream_of_its_earlier_actors_runs_adopts_it() {
    let bench = steady().await;
    let stream = bench.lane.call(0, options(100 * SECOND)).await.unwrap();
    let (_, guard) = stream.into_parts();
    bench.lane.close("maintenance").await.unwrap();
    bench.lane.reopen().await.unwrap();
    assert_eq!(bench.lane.snapshot().await.pool.in_flight, 1);
    bench.served().await;
    tokio::time::sleep(40 * SECOND).await;
    guard.finish(Ending::Success);
    bench.assert_quiet().await;
    let books = bench.lane.endings();
    assert_eq!((books.calls, books.of(Ending::Success)), (3, 3));
}

#[actix::test]
async fn a_drain_and_a_cut_off_reach_a_closed_lane() {
    let bench = steady().await;
    let call = bench.call(2, 100 * SECOND);
    let stop = async {
        tokio::time::sleep(SECOND).await;
        bench.lane.close("maintenance").await.unwrap();
        bench.lane.drain().await;
        assert_eq!(bench.lane.live(), 1);
        assert_eq!(bench.lane.cut_off().await, 1);
        bench.lane.when_idle().await;
    };
    let (call, ()) = tokio::join!(call, stop);
    assert!(matches!(call, Err(CallError::Drained)), "{call:?}");
    assert_eq!(ended(&bench, Ending::Drained), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn what_a_lane_knows_outlives_its_closing() {
    let bench = lane(
        Script::new(|_, _| Play::Answer(SECOND)),
        LaneSettings {
            idle_after: HumanDuration(600 * SECOND),
            limit_max: 16,
            ..LaneSettings::default()
        },
    )
    .await;
    for _ in 0..20 {
        let calls = (0..60).map(|n| bench.call(n, 600 * SECOND));
        futures_util::future::join_all(calls).await;
    }
    let limit = bench.lane.limit();
    assert!(limit > 8, "{limit}");
    bench.lane.close("maintenance").await.unwrap();
    bench.lane.reopen().await.unwrap();
    bench.served().await;
    let after = bench.lane.limit();
    assert!(after > limit / 2, "{limit} before, {after} after");
}

#[actix::test]
async fn a_stop_of_the_system_ends_attempts_of_open_and_of_closed_lanes() {
    for closed in [false, true] {
        let bench = steady().await;
        let mut call = Box::pin(bench.call(2, 100 * SECOND));
        assert!(tokio::time::timeout(SECOND, &mut call).await.is_err());
        if closed {
            bench.lane.close("maintenance").await.unwrap();
        }
        bench.system.terminate().await;
        let ended = call.await;
        assert!(matches!(ended, Err(CallError::Stopped)), "{ended:?}");
        tokio::time::sleep(SECOND).await;
        assert_eq!(bench.script.in_flight.load(SeqCst), 0);
        assert_eq!(bench.lane.live(), 0);
        let late = bench.call(7, SECOND).await;
        assert!(
            matches!(late, Err(CallError::Stopped | CallError::Closed { .. })),
            "{late:?}"
        );
        assert_eq!(bench.lane.close("late").await, Err(NoAnswer));
        tokio::time::resume();
    }
}

#[actix::test]
async fn in_a_storm_of_panics_everywhere_every_call_ends_once_and_the_lane_serves_after() {
    let dice = Mutex::new(Dice::seeded(23));
    let script = Script::new(move |_, attempt| {
        if attempt.request == 7 {
            return Play::Answer(SECOND / 10);
        }
        let mut dice = dice.lock().unwrap();
        let after = SECOND.mul_f64(4.0 * dice.unit());
        match dice.unit() {
            roll if roll < 0.05 => Play::Panic(after),
            roll if roll < 0.08 => Play::PanicInStream,
            roll if roll < 0.12 => Play::Fail(Outcome::Fault),
            roll if roll < 0.3 => Play::Stream(after),
            _ => Play::Answer(after),
        }
    });
    let bench = lane(script, LaneSettings::default()).await;
    let calls = (0..800_u32).map(|number| {
        let bench = &bench;
        async move {
            tokio::time::sleep(SECOND / 10 * number).await;
            let call = bench.lane.call(1000 + number, options(20 * SECOND));
            let Ok(reply) = call.await else {
                return;
            };
            let (_, guard) = reply.into_parts();
            if number % 5 == 0 {
                return;
            }
            tokio::time::sleep(4 * SECOND).await;
            guard.finish(Ending::Success);
        }
    });
    let storm = async {
        let mut closings = 0;
        for round in 0..100 {
            tokio::time::sleep(SECOND / 2).await;
            for _ in 0..3 {
                match round % 3 {
                    0 => bench.fail_pool_if_it_runs(),
                    1 => bench.fail_controller_if_it_runs(),
                    _ => {}
                }
                tokio::time::sleep(SECOND / 50).await;
            }
            if bench.lane.closed().is_some() {
                closings += 1;
                tokio::time::sleep(SECOND / 2).await;
                assert_eq!(bench.lane.reopen().await, Ok(true));
            }
        }
        if bench.lane.closed().is_some() {
            bench.lane.reopen().await.unwrap();
        }
        closings
    };
    let (_, closings) = tokio::join!(futures_util::future::join_all(calls), storm);
    assert!(closings > 0, "the storm never closed the lane");
    tokio::time::sleep(60 * SECOND).await;
    bench.served().await;
    let books = bench.lane.endings();
    assert_eq!(books.calls, 801);
    assert_eq!(books.ended.iter().sum::<u64>(), 801, "{books:?}");
    assert!(books.of(Ending::Success) > 100, "{books:?}");
    bench.assert_quiet().await;
}
