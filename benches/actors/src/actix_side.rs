//! The actors under measurement, on stock actix. A panic there ends the thread, so that there is no storm.

use std::{sync::Arc, time::Instant};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use actix_rt::{Arbiter, System};

use crate::{
    cases::{ASKS, BATCH, Case, FAR_ASKS, LONG, SPAWNS, TELLS, nanos_each, resident_each},
    flood::{Flood, UNDER_WAY},
    latch::Latch,
};

struct Sum(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

#[derive(Message)]
#[rtype(result = "()")]
struct Hello(Arc<Latch>);

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

impl Handler<Hello> for Sum {
    type Result = ();
    fn handle(&mut self, Hello(latch): Hello, _: &mut Context<Self>) {
        latch.count_down();
    }
}

/// The actor that floods its thread.
struct Flooded(Flood);

#[derive(Message)]
#[rtype(result = "()")]
struct Work;

impl Actor for Flooded {
    type Context = Context<Self>;
}

impl Handler<Work> for Flooded {
    type Result = ();
    fn handle(&mut self, _: Work, ctx: &mut Context<Self>) {
        if self.0.work() {
            ctx.address().do_send(Work);
        }
    }
}

fn with_sum(far: bool, body: impl AsyncFnOnce(&Addr<Sum>) -> f64) -> f64 {
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

fn tell(far: bool) -> f64 {
    with_sum(far, async |sum| {
        let start = Instant::now();
        for _ in 0..TELLS / BATCH {
            for _ in 1..BATCH {
                sum.do_send(Add(1));
            }
            sum.send(Add(1)).timeout(LONG).await.unwrap();
        }
        nanos_each(start, TELLS as usize)
    })
}

fn ask(far: bool, asks: u32) -> f64 {
    with_sum(far, async |sum| {
        let start = Instant::now();
        for _ in 0..asks {
            sum.send(Add(1)).timeout(LONG).await.unwrap();
        }
        nanos_each(start, asks as usize)
    })
}

/// Spawns so many actors and waits until each has handled a message.
async fn crowd(count: usize) -> Vec<Addr<Sum>> {
    let latch = Latch::new(count);
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let sum = Sum(0).start();
        sum.do_send(Hello(Arc::clone(&latch)));
        crowd.push(sum);
    }
    latch.wait().await;
    crowd
}

fn spawn() -> f64 {
    System::new().block_on(async {
        let start = Instant::now();
        let _crowd = crowd(SPAWNS).await;
        nanos_each(start, SPAWNS)
    })
}

fn flood(under_way: usize) -> f64 {
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let flood = Flood::default();
        let kept = flood.clone();
        let flooded = Flooded::start_in_arbiter(&arbiter.handle(), |_| Flooded(kept));
        let sibling = Sum::start_in_arbiter(&arbiter.handle(), |_| Sum(0));
        sibling.send(Add(0)).await.unwrap();
        for _ in 0..under_way {
            flooded.do_send(Work);
        }
        let value = flood
            .pings(async || assert!(sibling.send(Add(1)).await.is_ok()))
            .await;
        arbiter.stop();
        arbiter.join().unwrap();
        value
    })
}

pub(crate) fn measure(case: Case) -> Option<f64> {
    Some(match case {
        Case::TellNear => tell(false),
        Case::TellFar => tell(true),
        Case::AskNear => ask(false, ASKS),
        Case::AskFar => ask(true, FAR_ASKS),
        Case::Spawn => spawn(),
        Case::Calm => flood(0),
        Case::Flooded => flood(UNDER_WAY),
        Case::Storm | Case::Memory => return None,
    })
}

pub(crate) fn hold(count: usize) -> f64 {
    System::new().block_on(resident_each(count, async || crowd(count).await))
}
