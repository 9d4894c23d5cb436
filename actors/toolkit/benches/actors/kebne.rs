//! The actor under measurement, on Kebne.

use std::time::{Duration, Instant};

use actix::{Actor, Handler, Message, ResponseActFuture, WrapFuture};
use actix_rt::{Arbiter, System};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Strategy};

use crate::stock::{ASKS, BATCH, IN_FLIGHT, TELLS, nanos_each};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(10);

/// Restarts in one round.
const RESTARTS: usize = 500;

struct Sum(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

/// A call that never ends.
#[derive(Message)]
#[rtype(result = "()")]
struct Call;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

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

impl Handler<Panic> for Sum {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

/// Runs `body` with a sum on this thread, or on one of its own.
fn with_sum<T>(far: bool, body: impl AsyncFnOnce(&ActorRef<Sum>) -> T) -> T {
    System::new().block_on(async {
        let system = ActorSystem::new("bench", 1);
        let props = Props::new(|| Sum(0))
            .mailbox(2 * IN_FLIGHT)
            .supervise(Strategy::restart());
        let arbiter = far.then(Arbiter::new);
        let props = match &arbiter {
            Some(arbiter) => props.on_arbiter(arbiter.handle()),
            None => props,
        };
        let sum = system.spawn(props, "sum");
        sum.ask(Add(0), LONG).await.unwrap();
        let value = body(&sum).await;
        system.terminate().await;
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
                assert!(sum.tell(Add(1)).is_enqueued());
            }
            sum.ask(Add(1), LONG).await.unwrap();
        }
        nanos_each(start, TELLS)
    })
}

/// Asks one after the other; returns the nanoseconds of an answer.
pub(crate) fn ask(far: bool) -> f64 {
    with_sum(far, async |sum| asks(sum).await)
}

async fn asks(sum: &ActorRef<Sum>) -> f64 {
    let start = Instant::now();
    for _ in 0..ASKS {
        sum.ask(Add(1), LONG).await.unwrap();
    }
    nanos_each(start, ASKS)
}

/// Returns the nanoseconds of an answer with nothing in flight, and with many calls.
pub(crate) fn ask_in_flight() -> (f64, f64) {
    with_sum(false, async |sum| {
        let idle = asks(sum).await;
        let calls: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let sum = sum.clone();
                actix_rt::spawn(async move { sum.ask(Call, LONG).await })
            })
            .collect();
        tokio::task::yield_now().await;
        sum.ask(Add(1), LONG).await.unwrap();
        let busy = asks(sum).await;
        for call in calls {
            call.abort();
        }
        (idle, busy)
    })
}

/// Returns for each restart the microseconds from the panic's telling to an answer of the next incarnation.
pub(crate) fn restarts() -> Vec<f64> {
    with_sum(false, async |sum| {
        let mut times = Vec::new();
        for _ in 0..RESTARTS {
            let start = Instant::now();
            assert!(sum.tell(Panic).is_enqueued());
            assert_eq!(sum.ask(Add(1), LONG).await.unwrap(), 1);
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times
    })
}
