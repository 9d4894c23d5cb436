//! The pool or the controller fails while calls run: what is kept, what is tried again, what is counted.

use actix::{Handler, Message};

use super::{
    hedging::{ANSWER, LATE, taught},
    *,
};
use kebne_actors::Context;

use crate::{rate_controller::RateController, worker_pool::WorkerPool};

/// Makes an actor fail.
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
    fn fail_pool(&self) {
        let route = self.lane.inner.route.borrow().clone().unwrap();
        assert!(route.pool.tell(Fail).is_enqueued());
    }

    fn fail_controller(&self) {
        let route = self.lane.inner.route.borrow().clone().unwrap();
        assert!(route.controller.tell(Fail).is_enqueued());
    }
}

#[actix::test]
async fn a_doubled_call_is_tried_again_once_when_the_pool_lost_both_attempts() {
    let bench = taught(|_, nth| match nth {
        1 | 2 => Play::Hang,
        _ => Play::Answer(ANSWER),
    })
    .await;
    let fail = async {
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(bench.lane.snapshot().await.unwrap().pool.in_flight, 2);
        bench.fail_pool();
    };
    let (reply, ()) = tokio::join!(bench.hedged(LATE), fail);
    let reply = reply.unwrap();
    assert_eq!(reply.attempts, 3, "both count as failed");
    assert_eq!(reply.complete(), LATE + 1);
    assert_eq!(bench.hedges().await, (1, 0));
    assert_eq!(ended(&bench, Ending::Success), 121);
    bench.assert_quiet().await;
}

#[actix::test]
async fn an_answer_that_runs_when_the_pool_fails_ends_its_call_and_is_not_tried_again() {
    let bench = taught(|_, nth| match nth {
        1 => Play::Hang,
        _ => Play::Stream(10 * SECOND),
    })
    .await;
    let reply = bench.hedged(LATE).await.unwrap();
    bench.fail_pool();
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.script.in_flight.load(SeqCst), 0, "it goes on");
    reply.guard.finish(Ending::Error);
    assert_eq!(ended(&bench, Ending::Panic), 1, "the lane's reason counts");
    assert_eq!(bench.script.log.lock().unwrap().len(), 122);
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
    let ends = futures_util::future::join_all(calls).await;
    assert!(ends.iter().all(Result::is_err), "{ends:?}");
    // Those that were on their way, and one every two seconds to ask again.
    let sent = sent(&bench) - before;
    assert!((limit..=limit + 3).contains(&sent), "{sent} of {limit}");
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
