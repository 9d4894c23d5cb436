//! The actors under measurement, on Kebne.

use std::{sync::Arc, time::Instant};

use actix::{Actor, Handler, Message};
use actix_rt::{Arbiter, System};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Strategy};

use crate::{
    cases::{
        ASKS, BATCH, CHILDREN, Case, FAR_ASKS, LONG, ROOM, SPAWNS, TELLS, nanos_each, resident_each,
    },
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

/// A child that counts its starts, and panics at its only message.
struct Child(Arc<Latch>);

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Panic;

impl Actor for Child {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Context<Self>) {
        self.0.count_down();
    }
}

impl Handler<Panic> for Child {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        panic!("on purpose");
    }
}

/// The supervisor of the children.
struct Parent {
    latch: Arc<Latch>,
    children: Vec<ActorRef<Child>>,
}

impl Actor for Parent {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..CHILDREN {
            let latch = Arc::clone(&self.latch);
            let props = Props::new(move || Child(Arc::clone(&latch)));
            let child = ctx.spawn_anonymous_child(props.supervise(Strategy::restart()));
            self.children.push(child);
        }
    }
}

impl Handler<Panic> for Parent {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Context<Self>) {
        for child in &self.children {
            assert!(child.tell(Panic).is_enqueued());
        }
    }
}

/// The actor that floods its thread, and its sibling.
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
            assert!(ctx.self_ref().tell(Work).is_enqueued());
        }
    }
}

/// Runs `body` with a system and, if `far`, a second thread.
fn with_system<T>(far: bool, body: impl AsyncFnOnce(&ActorSystem, Option<&Arbiter>) -> T) -> T {
    System::new().block_on(async {
        let system = ActorSystem::new("costs", 1);
        let arbiter = far.then(Arbiter::new);
        let value = body(&system, arbiter.as_ref()).await;
        system.terminate().await;
        if let Some(arbiter) = arbiter {
            arbiter.stop();
            arbiter.join().unwrap();
        }
        value
    })
}

fn with_sum(far: bool, body: impl AsyncFnOnce(&ActorRef<Sum>) -> f64) -> f64 {
    with_system(far, async |system, arbiter| {
        let props = Props::new(|| Sum(0)).mailbox(ROOM);
        let props = match arbiter {
            Some(arbiter) => props.on_arbiter(arbiter.handle()),
            None => props,
        };
        let sum = system.spawn(props, "sum");
        sum.ask(Add(0), LONG).await.unwrap();
        body(&sum).await
    })
}

fn tell(far: bool) -> f64 {
    with_sum(far, async |sum| {
        let start = Instant::now();
        for _ in 0..TELLS / BATCH {
            for _ in 1..BATCH {
                assert!(sum.tell(Add(1)).is_enqueued());
            }
            sum.ask(Add(1), LONG).await.unwrap();
        }
        nanos_each(start, TELLS as usize)
    })
}

fn ask(far: bool, asks: u32) -> f64 {
    with_sum(far, async |sum| {
        let start = Instant::now();
        for _ in 0..asks {
            sum.ask(Add(1), LONG).await.unwrap();
        }
        nanos_each(start, asks as usize)
    })
}

/// Spawns so many actors and waits until each has handled a message.
async fn crowd(system: &ActorSystem, count: usize) -> Vec<ActorRef<Sum>> {
    let latch = Latch::new(count);
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let sum = system.spawn_anonymous(Props::new(|| Sum(0)));
        assert!(sum.tell(Hello(Arc::clone(&latch))).is_enqueued());
        crowd.push(sum);
    }
    latch.wait().await;
    crowd
}

fn spawn() -> f64 {
    with_system(false, async |system, _| {
        let start = Instant::now();
        let _crowd = crowd(system, SPAWNS).await;
        nanos_each(start, SPAWNS)
    })
}

fn storm() -> f64 {
    with_system(false, async |system, _| {
        // Each child starts twice.
        let starts = Latch::new(2 * CHILDREN);
        let latch = Arc::clone(&starts);
        let props = Props::new(move || Parent {
            latch: Arc::clone(&latch),
            children: Vec::new(),
        });
        let parent = system.spawn(props, "parent");
        starts.until(CHILDREN).await;
        let start = Instant::now();
        assert!(parent.tell(Panic).is_enqueued());
        starts.wait().await;
        nanos_each(start, CHILDREN)
    })
}

fn flood(under_way: usize) -> f64 {
    with_system(true, async |system, arbiter| {
        let arbiter = arbiter.unwrap();
        let flood = Flood::default();
        let kept = flood.clone();
        let props = Props::new(move || Flooded(kept.clone())).mailbox(ROOM);
        let flooded = system.spawn(props.on_arbiter(arbiter.handle()), "flooded");
        let sibling = system.spawn(
            Props::new(|| Sum(0)).on_arbiter(arbiter.handle()),
            "sibling",
        );
        sibling.ask(Add(0), LONG).await.unwrap();
        for _ in 0..under_way {
            assert!(flooded.tell(Work).is_enqueued());
        }
        let ping = async || assert!(sibling.ask(Add(1), LONG).await.is_ok());
        flood.pings(ping).await
    })
}

pub(crate) fn measure(case: Case) -> Option<f64> {
    Some(match case {
        Case::TellNear => tell(false),
        Case::TellFar => tell(true),
        Case::AskNear => ask(false, ASKS),
        Case::AskFar => ask(true, FAR_ASKS),
        Case::Spawn => spawn(),
        Case::Storm => storm(),
        Case::Calm => flood(0),
        Case::Flooded => flood(UNDER_WAY),
        Case::Memory => return None,
    })
}

pub(crate) fn hold(count: usize) -> f64 {
    with_system(false, async |system, _| {
        resident_each(count, async || crowd(system, count).await).await
    })
}
