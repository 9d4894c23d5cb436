use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use kebne_actors::{ActorSystem, clock::Dice};

use super::*;

mod closing;
mod hedging;
mod in_place;
mod open_slots;
mod outages;
mod prewarm;
mod repeats;
mod restarts;
mod withdrawn;

const SECOND: Duration = Duration::from_secs(1);

type Behave = Box<dyn Fn(usize, Attempt<u32>) -> Play + Send + Sync>;

/// What the backend does with an attempt.
enum Play {
    Answer(Duration),
    Fail(Outcome),
    /// Fails and has done nothing.
    FailSafely(Outcome),
    Panic(Duration),
    Hang,
    Stream(Duration),
    PanicInStream,
}

struct Script {
    behave: Behave,
    calls: AtomicUsize,
    in_flight: Arc<AtomicUsize>,
    most: AtomicUsize,
    log: Mutex<Vec<(u32, u32, bool)>>,
}

impl Script {
    fn new(behave: impl Fn(usize, Attempt<u32>) -> Play + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            behave: Box::new(behave),
            calls: AtomicUsize::new(0),
            in_flight: Arc::default(),
            most: AtomicUsize::new(0),
            log: Mutex::default(),
        })
    }
}

struct Count(Arc<AtomicUsize>);
impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Backend for Script {
    type Request = u32;
    type Response = u32;

    async fn attempt(&self, attempt: Attempt<u32>) -> Result<Answer<u32>, Failure> {
        let nth = self.calls.fetch_add(1, SeqCst);
        let now = self.in_flight.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        let count = Count(Arc::clone(&self.in_flight));
        let request = attempt.request;
        self.log
            .lock()
            .unwrap()
            .push((request, attempt.number, attempt.wake));
        match (self.behave)(nth, attempt) {
            Play::Answer(after) => {
                tokio::time::sleep(after).await;
                Ok(Answer::complete(request + 1))
            }
            Play::Fail(outcome) => Err(Failure::new(outcome, "as the script says")),
            Play::FailSafely(outcome) => {
                Err(Failure::new(outcome, "as the script says").safe_to_repeat())
            }
            Play::Panic(after) => {
                tokio::time::sleep(after).await;
                panic!("as the script says");
            }
            Play::Hang => std::future::pending().await,
            Play::Stream(rest) => Ok(Answer::streamed(
                request + 1,
                Box::pin(async move {
                    tokio::time::sleep(rest).await;
                    drop(count);
                    TailEnding {
                        outcome: Outcome::Success { tokens: Some(3) },
                        error: None,
                    }
                }),
            )),
            Play::PanicInStream => Ok(Answer::streamed(
                request + 1,
                Box::pin(async move {
                    let _count = count;
                    panic!("in the stream");
                }),
            )),
        }
    }
}

struct Bench {
    system: ActorSystem,
    lane: LaneHandle<Script>,
    script: Arc<Script>,
}

async fn lane(script: Arc<Script>, settings: LaneSettings) -> Bench {
    build(script, settings, |lane| lane).await
}

async fn build(
    script: Arc<Script>,
    settings: LaneSettings,
    more: impl FnOnce(LaneBuilder<Script>) -> LaneBuilder<Script>,
) -> Bench {
    tokio::time::pause();
    let system = ActorSystem::new("test", 7);
    let lane = LaneBuilder::new("x", Arc::clone(&script)).settings(settings);
    let lane = more(lane).start(&system).await.unwrap();
    Bench {
        system,
        lane,
        script,
    }
}

fn options(deadline: Duration) -> CallOptions {
    CallOptions {
        trail: None,
        deadline,
        bounds_stream: true,
        bytes: 10,
        cost: 0,
        cost_uncertain: 0,
        tenant: 0,
        priority: 0,
        weight: 1.0,
        first_part_timeout: None,
        refuse_when_cold: false,
        hedge: false,
        kind: kebne_control::Kind::default(),
        repeats: Repeats::Failures,
        in_place: false,
    }
}

impl Bench {
    /// Makes a call. The attempts of even requests may run in its future, those of odd ones are tasks.
    async fn call(&self, request: u32, deadline: Duration) -> Result<u32, CallError> {
        let options = CallOptions {
            in_place: request.is_multiple_of(2),
            ..options(deadline)
        };
        let reply = self.lane.call(request, options).await?;
        Ok(reply.complete())
    }

    /// What must hold after any storm.
    async fn assert_quiet(&self) {
        tokio::time::sleep(SECOND).await;
        assert_eq!(
            self.script.in_flight.load(SeqCst),
            0,
            "work goes on upstream"
        );
        assert_eq!(self.lane.live(), 0, "permits are taken");
        assert_eq!(self.lane.endings().live(), 0, "calls without an ending");
        let snapshot = self.lane.snapshot().await;
        assert_eq!(snapshot.pool.in_flight, 0);
        assert_eq!(snapshot.pool.queued, 0);
    }
}

fn ended(bench: &Bench, ending: Ending) -> u64 {
    bench.lane.endings().of(ending)
}

#[actix::test]
async fn a_lane_with_settings_out_of_range_does_not_start() {
    let system = ActorSystem::new("test", 7);
    let settings = LaneSettings {
        limit_max: 0,
        ..LaneSettings::default()
    };
    let lane = LaneBuilder::new("x", Script::new(|_, _| Play::Answer(SECOND))).settings(settings);
    let Err(StartError::Settings(errors)) = lane.start(&system).await else {
        panic!("it started");
    };
    assert!(errors.to_string().contains("limit_max"), "{errors}");
    assert!(system.tree().is_empty());
}

#[actix::test]
async fn a_call_is_answered_and_counted_once() {
    let bench = lane(
        Script::new(|_, _| Play::Answer(SECOND)),
        LaneSettings::default(),
    )
    .await;
    assert_eq!(bench.call(1, 10 * SECOND).await.unwrap(), 2);
    assert_eq!(ended(&bench, Ending::Success), 1);
    bench.assert_quiet().await;
    let paths: Vec<_> = bench
        .system
        .tree()
        .iter()
        .map(|a| a.path.to_string())
        .collect();
    assert_eq!(
        paths,
        [
            "/user/lane-x",
            "/user/lane-x/rate-controller",
            "/user/lane-x/worker-pool",
            "/user/lane-x/worker-pool/worker-1",
        ]
    );
}

#[actix::test]
async fn while_cold_one_wake_call_at_a_time_is_sent_and_the_others_are_held() {
    let start = tokio::time::Instant::now();
    let ready = 5 * SECOND;
    let script = Script::new(move |_, _| {
        let age = start.elapsed();
        if age < ready {
            let estimated = ready.checked_sub(age);
            return Play::Fail(Outcome::Cold { estimated });
        }
        Play::Answer(SECOND / 10)
    });
    let bench = lane(script, LaneSettings::default()).await;
    let calls = (0..20).map(|n| bench.call(n, 60 * SECOND));
    let results = futures_util::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let polls = bench
        .script
        .log
        .lock()
        .unwrap()
        .iter()
        .filter(|entry| entry.2)
        .count();
    assert!(polls <= 10, "{polls} wake calls");
    assert_eq!(ended(&bench, Ending::Success), 20);
    bench.assert_quiet().await;
}

#[actix::test]
async fn the_limit_bounds_what_is_in_flight_and_grows_with_successes() {
    let bench = lane(
        Script::new(|_, _| Play::Answer(SECOND)),
        LaneSettings::default(),
    )
    .await;
    let calls = (0..200).map(|n| bench.call(n, 600 * SECOND));
    let results = futures_util::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_ok));
    let most = bench.script.most.load(SeqCst);
    assert!(most > 4, "the limit never grew: {most}");
    assert!(most <= 200);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_panicking_attempt_is_tried_again_if_that_is_wanted_and_its_worker_restarted() {
    let script = Script::new(|nth, _| match nth {
        0 => Play::Panic(SECOND / 10),
        _ => Play::Answer(SECOND / 10),
    });
    let bench = lane(script, LaneSettings::default()).await;
    let options = CallOptions {
        repeats: Repeats::FailuresAndPanics,
        ..options(30 * SECOND)
    };
    let reply = bench.lane.call(1, options).await.unwrap();
    assert_eq!(reply.complete(), 2);
    bench.assert_quiet().await;
    assert_eq!(bench.lane.snapshot().await.worker_restarts, 1);
}

#[actix::test]
async fn under_random_panics_every_admitted_call_ends_exactly_once() {
    let dice = Mutex::new(Dice::seeded(11));
    let nth_of_many = AtomicUsize::new(0);
    let script = Script::new(move |_, _| {
        let draw = dice.lock().unwrap().unit();
        let after = Duration::from_secs_f64(draw);
        match nth_of_many.fetch_add(7, SeqCst) % 30 {
            0 | 1 => Play::Panic(after),
            2 => Play::PanicInStream,
            3 => Play::Fail(Outcome::Fault),
            4 => Play::Fail(Outcome::Limit),
            5 => Play::Stream(after),
            6 => Play::Hang,
            _ => Play::Answer(after),
        }
    });
    let settings = LaneSettings {
        attempt_timeout: HumanDuration(3 * SECOND),
        ..LaneSettings::default()
    };
    let bench = lane(script, settings).await;
    let calls = (0..500_u32).map(|n| {
        let bench = &bench;
        async move {
            tokio::time::sleep(Duration::from_millis(u64::from(n) * 20)).await;
            let call = bench.call(n, 30 * SECOND);
            if n % 7 == 0 {
                // This caller goes away.
                drop(tokio::time::timeout(SECOND / 2, call).await);
            } else {
                drop(call.await);
            }
        }
    });
    futures_util::future::join_all(calls).await;
    tokio::time::sleep(60 * SECOND).await;
    let endings = bench.lane.endings();
    assert_eq!(endings.calls, 500);
    assert!(endings.of(Ending::Success) > 100, "{endings:?}");
    assert!(endings.of(Ending::Cancelled) > 0, "{endings:?}");
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_full_queue_refuses_at_once_with_the_true_reason() {
    let settings = LaneSettings {
        queue_max: 3,
        ..LaneSettings::default()
    };
    let bench = lane(Script::new(|_, _| Play::Hang), settings).await;
    let mut first = Box::pin(bench.call(0, 20 * SECOND));
    assert!(tokio::time::timeout(SECOND / 10, &mut first).await.is_err());
    let waiting: Vec<_> = (1..8).map(|n| bench.call(n, 20 * SECOND)).collect();
    let mut waiting = Box::pin(futures_util::future::join_all(waiting));
    assert!(tokio::time::timeout(SECOND, &mut waiting).await.is_err());
    assert_eq!(ended(&bench, Ending::Shed), 4);
    let refused = bench.call(99, 20 * SECOND).await;
    let Err(CallError::Refused { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason, RefusalReason::QueueFull);
    drop((first, waiting));
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_caller_that_goes_away_stops_its_attempt_and_gives_its_place_back() {
    let bench = lane(Script::new(|_, _| Play::Hang), LaneSettings::default()).await;
    let call = bench.call(1, 60 * SECOND);
    assert!(tokio::time::timeout(SECOND, call).await.is_err());
    bench.assert_quiet().await;
    assert_eq!(ended(&bench, Ending::Cancelled), 1);
}

#[actix::test]
async fn a_hanging_attempt_times_out_and_says_which_clock() {
    let bench = lane(Script::new(|_, _| Play::Hang), LaneSettings::default()).await;
    let result = bench.call(1, 5 * SECOND).await;
    let Err(CallError::Timeout { what, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(what, "total");
    assert_eq!(ended(&bench, Ending::Timeout), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_stream_keeps_its_place_until_its_rest_is_done_and_a_dropped_guard_cancels_it() {
    let bench = lane(
        Script::new(|_, _| Play::Stream(5 * SECOND)),
        LaneSettings::default(),
    )
    .await;
    let reply = bench.lane.call(1, options(60 * SECOND)).await.unwrap();
    assert_eq!(*reply.response(), 2);
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.lane.snapshot().await.pool.in_flight, 1);
    drop(reply);
    bench.assert_quiet().await;
    assert_eq!(ended(&bench, Ending::Cancelled), 1);
}

#[actix::test]
async fn a_deadline_ends_a_stream_only_if_it_bounds_streams() {
    let bench = lane(
        Script::new(|_, _| Play::Stream(5 * SECOND)),
        LaneSettings::default(),
    )
    .await;
    for (bounds_stream, verdict, ended) in [
        (true, Some(Ending::Timeout), Ending::Timeout),
        (false, None, Ending::Error),
    ] {
        let options = CallOptions {
            bounds_stream,
            ..options(2 * SECOND)
        };
        let reply = bench.lane.call(1, options).await.unwrap();
        let (_, guard) = reply.into_parts();
        tokio::time::sleep(3 * SECOND).await;
        let in_flight = bench.lane.snapshot().await.pool.in_flight;
        assert_eq!(in_flight, u32::from(!bounds_stream));
        assert_eq!(guard.verdict(), verdict);
        tokio::time::sleep(3 * SECOND).await;
        assert_eq!(guard.finish(Ending::Error), ended);
    }
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_panic_within_a_stream_is_counted_as_a_panic() {
    let bench = lane(
        Script::new(|_, _| Play::PanicInStream),
        LaneSettings::default(),
    )
    .await;
    let reply = bench.lane.call(1, options(60 * SECOND)).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let (_, guard) = reply.into_parts();
    guard.finish(Ending::Error);
    assert_eq!(ended(&bench, Ending::Panic), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn the_callers_own_fault_is_not_tried_again() {
    let bench = lane(
        Script::new(|_, _| Play::Fail(Outcome::Client)),
        LaneSettings::default(),
    )
    .await;
    assert!(matches!(
        bench.call(1, SECOND).await,
        Err(CallError::Failed { attempts: 1, .. })
    ));
    assert_eq!(ended(&bench, Ending::Rejected), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_drain_refuses_new_calls_finishes_the_admitted_and_cuts_the_rest_off() {
    let script = Script::new(|_, attempt| match attempt.request {
        0 => Play::Answer(SECOND),
        _ => Play::Hang,
    });
    let bench = lane(script, LaneSettings::default()).await;
    let calls = futures_util::future::join(bench.call(0, 90 * SECOND), bench.call(1, 60 * SECOND));
    let drain = async {
        tokio::time::sleep(SECOND / 2).await;
        bench.lane.drain().await;
        let late = bench.call(2, 60 * SECOND).await;
        assert!(matches!(
            late,
            Err(CallError::Refused {
                reason: RefusalReason::Draining,
                ..
            })
        ));
        tokio::time::sleep(5 * SECOND).await;
        let cut = bench.lane.cut_off().await;
        bench.lane.when_idle().await;
        cut
    };
    let ((first, second), cut) = tokio::join!(calls, drain);
    assert!(first.is_ok());
    assert!(matches!(second, Err(CallError::Drained)), "{second:?}");
    assert_eq!(cut, 1);
    assert_eq!(ended(&bench, Ending::Drained), 1);
    bench.assert_quiet().await;
}

#[actix::test]
async fn what_was_learned_starts_the_next_life() {
    let settings = LaneSettings {
        idle_after: HumanDuration(600 * SECOND),
        ..LaneSettings::default()
    };
    let bench = lane(Script::new(|_, _| Play::Answer(SECOND)), settings).await;
    let calls = (0..300).map(|n| bench.call(n, 600 * SECOND));
    futures_util::future::join_all(calls).await;
    bench.system.terminate().await;
    let learned = bench.lane.learned().unwrap();
    assert!(
        learned.limit.is_some_and(|limit| limit > 4.0),
        "{learned:?}"
    );
}
