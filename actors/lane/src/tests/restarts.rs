//! The pool or the controller fails while calls run: what is kept, what is tried again, what is counted.

use actix::{Handler, Message};

use super::{
    hedging::{ANSWER, LATE, taught},
    *,
};
use kebne_actors::Context;

use crate::{rate_controller::RateController, worker_pool::WorkerPool};

/// Creates an actor fail.
#[derive(Message)]
#[rtype(result = "()")]
struct Fail;

impl Handler<Fail> for WorkerPool<Script> {
    type Result = ();

    fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
        ctx.fail("as the test says");
    }
}

impl Handler<Fail> for RateController {
    type Result = ();

    fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) {
        ctx.fail("as the test says");
    }
}

impl Bench {
    pub(super) fn fail_pool(&self) {
        let route = self.lane.inner.open_route().unwrap();
        assert!(route.pool.tell(Fail).is_enqueued());
    }

    pub(super) fn fail_pool_if_it_runs(&self) {
        if let Some(route) = self.lane.inner.open_route() {
            let _stopping = route.pool.tell(Fail);
        }
    }

    pub(super) fn fail_controller_if_it_runs(&self) {
        if let Some(route) = self.lane.inner.open_route() {
            let _stopping = route.controller.tell(Fail);
        }
    }

    pub(super) fn fail_controller(&self) {
        let route = self.lane.inner.open_route().unwrap();
        assert!(route.controller.tell(Fail).is_enqueued());
    }
}

#[actix::test]
async fn both_attempts_of_a_doubled_call_go_on_when_the_pool_fails() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Hang,
        _ => Play::Answer(10 * SECOND),
    })
    .await;
    let fail = async {
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(bench.lane.snapshot().await.pool.in_flight, 2);
        bench.fail_pool();
        tokio::time::sleep(SECOND).await;
        assert_eq!(bench.lane.snapshot().await.pool.in_flight, 2);
        assert_eq!(bench.script.in_flight.load(SeqCst), 2);
    };
    let (reply, ()) = tokio::join!(bench.hedged(LATE), fail);
    let reply = reply.unwrap();
    assert_eq!(reply.attempts(), 2, "none is made anew");
    assert_eq!(reply.complete(), LATE + 1);
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.hedges().await, (1, 1));
    assert_eq!(ended(&bench, Ending::Success), 121);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_stream_goes_on_to_its_end_when_the_pool_fails() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Hang,
        _ => Play::Stream(10 * SECOND),
    })
    .await;
    let (response, guard) = bench.hedged(LATE).await.unwrap().into_parts();
    assert_eq!(response, LATE + 1);
    bench.fail_pool();
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(bench.script.in_flight.load(SeqCst), 1, "it was cut");
    assert_eq!(bench.lane.snapshot().await.pool.in_flight, 1);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(bench.script.in_flight.load(SeqCst), 0);
    guard.finish(Ending::Success);
    assert_eq!(ended(&bench, Ending::Success), 121);
    assert_eq!(bench.script.log.lock().unwrap().len(), 122);
    bench.assert_quiet().await;
}

#[actix::test]
async fn calls_and_streams_outlive_the_restart_of_the_whole_lane() {
    let script = Script::new(|_, attempt| match attempt.request {
        0 => Play::Stream(40 * SECOND),
        _ => Play::Answer(30 * SECOND),
    });
    let settings = LaneSettings {
        limit_initial: 2,
        limit_max: 2,
        ..LaneSettings::default()
    };
    let bench = lane(script, settings).await;
    let calls = async {
        let reply = bench.lane.call(0, options(100 * SECOND)).await.unwrap();
        let (_, guard) = reply.into_parts();
        let calls = (1..4).map(|request| bench.call(request, 200 * SECOND));
        let ends = futures_util::future::join_all(calls).await;
        guard.finish(Ending::Success);
        ends
    };
    let fail = async {
        tokio::time::sleep(SECOND).await;
        let pool = bench.lane.inner.open_route().unwrap().pool;
        while bench
            .lane
            .inner
            .open_route()
            .is_none_or(|route| route.pool == pool)
        {
            bench.fail_pool_if_it_runs();
            tokio::time::sleep(SECOND / 10).await;
        }
        let snapshot = bench.lane.snapshot().await;
        assert_eq!((snapshot.pool.in_flight, snapshot.pool.queued), (2, 2));
        // Calls that come while nobody is there wait too.
        assert_eq!(bench.call(9, 200 * SECOND).await.unwrap(), 10);
    };
    let (ends, ()) = tokio::join!(calls, fail);
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    assert_eq!(
        bench.script.log.lock().unwrap().len(),
        5,
        "none is repeated"
    );
    assert_eq!(ended(&bench, Ending::Success), 5);
    bench.assert_quiet().await;
}

#[actix::test]
async fn a_call_that_waits_in_the_mailbox_of_a_pool_that_gives_up_is_taken_by_the_next() {
    let bench = lane(
        Script::new(|_, _| Play::Answer(SECOND / 100)),
        LaneSettings::default(),
    )
    .await;
    let pool = bench.lane.inner.open_route().unwrap().pool;
    let same = || {
        bench
            .lane
            .inner
            .open_route()
            .is_some_and(|route| route.pool == pool)
    };
    let calls = async {
        let mut calls = futures_util::stream::FuturesUnordered::new();
        let mut made = 0;
        while same() {
            made += 1;
            calls.push(bench.call(made, 100 * SECOND));
            let next = futures_util::StreamExt::next(&mut calls);
            if let Ok(Some(end)) = tokio::time::timeout(SECOND / 10, next).await {
                end.unwrap();
            }
        }
        while let Some(end) = futures_util::StreamExt::next(&mut calls).await {
            end.unwrap();
        }
        made
    };
    let fail = async {
        while same() {
            bench.fail_pool_if_it_runs();
            tokio::time::sleep(SECOND / 10).await;
        }
    };
    let (made, ()) = tokio::join!(calls, fail);
    assert!(made > 20, "{made}");
    assert_eq!(ended(&bench, Ending::Success), u64::from(made));
    bench.assert_quiet().await;
}

#[actix::test]
async fn an_answer_given_as_the_pool_fails_is_a_success_and_counted_once() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Hang,
        _ => Play::Answer(ANSWER),
    })
    .await;
    let reply = bench.hedged(LATE).await.unwrap();
    bench.fail_pool();
    reply.complete();
    bench.assert_quiet().await;
    assert_eq!(ended(&bench, Ending::Success), 121);
    assert_eq!(bench.script.log.lock().unwrap().len(), 122);
}

#[actix::test]
async fn a_restarted_pool_still_waits_for_the_controllers_word_on_a_loading_answer() {
    let loading = Outcome::Cold {
        estimated: Some(60 * SECOND),
    };
    let bench = taught(move |_, _| Play::Fail(loading)).await;
    // The attempt is told to the controller, whose answer meets the pool's next incarnation.
    let (reply, ()) = tokio::join!(bench.hedged(LATE - 1), async { bench.fail_pool() });
    reply.unwrap().complete();
    let sent = |bench: &Bench| bench.script.log.lock().unwrap().len();
    let (before, limit) = (sent(&bench), bench.lane.limit() as usize);
    let calls = (0..4 * limit).map(|_| bench.lane.call(LATE, options(5 * SECOND)));
    let mut calls = Box::pin(futures_util::future::join_all(calls));
    let early = tokio::time::timeout(SECOND, &mut calls).await;
    assert!(early.is_err(), "{early:?}");
    let sent = sent(&bench) - before;
    assert_eq!(sent, limit.max(3), "three in a row make a lane cold");
    let ends = calls.await;
    assert!(ends.iter().all(Result::is_err), "{ends:?}");
    bench.assert_quiet().await;
}

#[actix::test]
async fn in_a_storm_in_which_pool_and_controller_fail_the_books_balance() {
    let dice = Mutex::new(Dice::seeded(17));
    let bench = taught(move |_, _| {
        let mut dice = dice.lock().unwrap();
        let after = ANSWER.mul_f64(0.5 + 30.0 * dice.unit().powi(4));
        match dice.unit() {
            roll if roll < 0.05 => Play::Fail(Outcome::Fault),
            roll if roll < 0.08 => Play::Fail(Outcome::Limit),
            roll if roll < 0.10 => Play::Panic(after),
            roll if roll < 0.30 => Play::Stream(after),
            _ => Play::Answer(after),
        }
    })
    .await;
    let storm = async {
        for round in 0..12 {
            tokio::time::sleep(Duration::from_millis(9_370)).await;
            if round % 3 == 2 {
                bench.fail_controller();
            } else {
                bench.fail_pool();
            }
        }
    };
    let calls = (0..600).map(|number| {
        let bench = &bench;
        async move {
            tokio::time::sleep(SECOND / 5 * number).await;
            let Ok(reply) = bench.hedged(LATE + number).await else {
                return 0;
            };
            tokio::time::sleep(4 * SECOND).await;
            reply.complete();
            1
        }
    });
    let (served, ()) = tokio::join!(futures_util::future::join_all(calls), storm);
    bench.assert_quiet().await;
    let (sent, won) = bench.hedges().await;
    assert!(sent > 10 && won > 2 && won < sent, "{sent} sent, {won} won");
    let books = bench.lane.endings();
    assert_eq!(books.calls, 720);
    assert_eq!(books.ended.iter().sum::<u64>(), 720);
    let served: u64 = served.iter().sum();
    assert_eq!(books.of(Ending::Success), 120 + served, "{books:?}");
    assert!(served > 400, "{books:?}");
}
