//! The same actor on stock actix, and how much is measured.

use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Message, ResponseActFuture, WrapFuture};
use actix_rt::{Arbiter, System};

/// Tells in one round.
pub(crate) const TELLS: u32 = 200_000;
/// Tells before one is asked, so that a queue does not grow without end.
pub(crate) const BATCH: u32 = 1_000;
/// Asks in one round.
pub(crate) const ASKS: u32 = 20_000;
/// Calls that are in flight at once, from the goal.
pub(crate) const IN_FLIGHT: usize = 10_000;
/// Asks in one round while calls are in flight: actix takes most of a millisecond for each.
const SLOW_ASKS: u32 = 500;

const LONG: Duration = Duration::from_mins(10);

struct Sum(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

/// A call that never ends.
#[derive(Message)]
#[rtype(result = "()")]
struct Call;

impl Actor for Sum {
    type Context = Context<Self>;
}

impl Handler<Add> for Sum {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

impl Handler<Call> for Sum {
    type Result = ResponseActFuture<Self, ()>;
    fn handle(&mut self, _: Call, _: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::pending().into_actor(self))
    }
}

/// Returns the nanoseconds since `start` for each of so many.
pub(crate) fn nanos_each(start: Instant, count: u32) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

/// Runs `body` with a sum on this thread, or on one of its own.
fn with_sum<T>(far: bool, body: impl AsyncFnOnce(&Addr<Sum>) -> T) -> T {
    System::new().block_on(async {
        let arbiter = far.then(Arbiter::new);
        let sum = match &arbiter {
            Some(arbiter) => Sum::start_in_arbiter(&arbiter.handle(), |_| Sum(0)),
            None => Sum(0).start(),
        };
        sum.send(Add(0)).await.unwrap();
        let value = body(&sum).await;
        if let Some(arbiter) = arbiter {
            arbiter.stop();
            arbiter.join().unwrap();
        }
        value
    })
}

/// Tells batch after batch, each until it is handled; returns the nanoseconds of a message.
pub(crate) fn tell(far: bool) -> f64 {
    with_sum(far, async |sum| {
        let start = Instant::now();
        for _ in 0..TELLS / BATCH {
            for _ in 1..BATCH {
                sum.do_send(Add(1));
            }
            sum.send(Add(1)).await.unwrap();
        }
        nanos_each(start, TELLS)
    })
}

/// Asks one after the other; returns the nanoseconds of an answer.
pub(crate) fn ask(far: bool, with_timeout: bool) -> f64 {
    with_sum(far, async |sum| {
        let start = Instant::now();
        for _ in 0..ASKS {
            if with_timeout {
                sum.send(Add(1)).timeout(LONG).await.unwrap();
            } else {
                sum.send(Add(1)).await.unwrap();
            }
        }
        nanos_each(start, ASKS)
    })
}

async fn slow_asks(sum: &Addr<Sum>) -> f64 {
    let start = Instant::now();
    for _ in 0..SLOW_ASKS {
        sum.send(Add(1)).await.unwrap();
    }
    nanos_each(start, SLOW_ASKS)
}

/// Returns the nanoseconds of an answer with nothing in flight, and with many calls.
pub(crate) fn ask_in_flight() -> (f64, f64) {
    with_sum(false, async |sum| {
        let idle = slow_asks(sum).await;
        let calls: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let sum = sum.clone();
                actix_rt::spawn(async move { sum.send(Call).await })
            })
            .collect();
        tokio::task::yield_now().await;
        sum.send(Add(1)).await.unwrap();
        let busy = slow_asks(sum).await;
        for call in calls {
            call.abort();
        }
        (idle, busy)
    })
}
