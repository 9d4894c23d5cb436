//! The actors under measurement, on kameo.

use std::{sync::Arc, time::Instant};

use kameo::{
    actor::{Actor, ActorRef, Spawn},
    error::Infallible,
    mailbox,
    message::{Context, Message},
    supervision::RestartPolicy,
};

use crate::{
    cases::{
        ASKS, BATCH, CHILDREN, Case, FAR_ASKS, LONG, ROOM, SPAWNS, TELLS, nanos_each, resident_each,
    },
    flood::{Flood, UNDER_WAY},
    latch::Latch,
    ractor_side::{far, near},
};

struct Sum(u64);

struct Add(u64);

struct Hello(Arc<Latch>);

impl Actor for Sum {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self(0))
    }
}

impl Message<Add> for Sum {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self, u64>) -> u64 {
        self.0 += n;
        self.0
    }
}

impl Message<Hello> for Sum {
    type Reply = ();
    async fn handle(&mut self, Hello(latch): Hello, _: &mut Context<Self, ()>) {
        latch.count_down();
    }
}

struct Child;

struct Panic;

impl Actor for Child {
    type Args = Arc<Latch>;
    type Error = Infallible;

    async fn on_start(latch: Arc<Latch>, _: ActorRef<Self>) -> Result<Self, Infallible> {
        latch.count_down();
        Ok(Self)
    }
}

impl Message<Panic> for Child {
    type Reply = ();
    async fn handle(&mut self, _: Panic, _: &mut Context<Self, ()>) {
        panic!("on purpose");
    }
}

struct Parent(Vec<ActorRef<Child>>);

impl Actor for Parent {
    type Args = Arc<Latch>;
    type Error = Infallible;

    async fn on_start(latch: Arc<Latch>, myself: ActorRef<Self>) -> Result<Self, Infallible> {
        let mut children = Vec::new();
        for _ in 0..CHILDREN {
            let child = Child::supervise(&myself, Arc::clone(&latch))
                .restart_policy(RestartPolicy::Permanent)
                .restart_limit(u32::MAX, LONG);
            children.push(child.spawn().await);
        }
        Ok(Self(children))
    }
}

impl Message<Panic> for Parent {
    type Reply = ();
    async fn handle(&mut self, _: Panic, _: &mut Context<Self, ()>) {
        for child in &self.0 {
            child.tell(Panic).try_send().unwrap();
        }
    }
}

struct Flooded(Flood);

struct Work;

impl Actor for Flooded {
    type Args = Flood;
    type Error = Infallible;

    async fn on_start(flood: Flood, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self(flood))
    }
}

impl Message<Work> for Flooded {
    type Reply = ();
    async fn handle(&mut self, _: Work, ctx: &mut Context<Self, ()>) {
        if self.0.work() {
            ctx.actor_ref().tell(Work).try_send().unwrap();
        }
    }
}

async fn add(sum: &ActorRef<Sum>) {
    sum.ask(Add(1)).reply_timeout(LONG).send().await.unwrap();
}

fn with_sum(is_far: bool, body: impl AsyncFnOnce(&ActorRef<Sum>) -> f64) -> f64 {
    let (near, other) = (near(), is_far.then(far));
    let spawn = async { Sum::spawn_with_mailbox((), mailbox::bounded(ROOM)) };
    let sum = other.as_ref().unwrap_or(&near).block_on(spawn);
    near.block_on(async {
        add(&sum).await;
        body(&sum).await
    })
}

fn tell(is_far: bool) -> f64 {
    with_sum(is_far, async |sum| {
        let start = Instant::now();
        for _ in 0..TELLS / BATCH {
            for _ in 1..BATCH {
                sum.tell(Add(1)).try_send().unwrap();
            }
            add(sum).await;
        }
        nanos_each(start, TELLS as usize)
    })
}

fn ask(is_far: bool, asks: u32) -> f64 {
    with_sum(is_far, async |sum| {
        let start = Instant::now();
        for _ in 0..asks {
            add(sum).await;
        }
        nanos_each(start, asks as usize)
    })
}

/// Spawns so many actors and waits until each has handled a message.
async fn crowd(count: usize) -> Vec<ActorRef<Sum>> {
    let latch = Latch::new(count);
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let sum = Sum::spawn(());
        sum.tell(Hello(Arc::clone(&latch))).try_send().unwrap();
        crowd.push(sum);
    }
    latch.wait().await;
    crowd
}

fn spawn() -> f64 {
    near().block_on(async {
        let start = Instant::now();
        let _crowd = crowd(SPAWNS).await;
        nanos_each(start, SPAWNS)
    })
}

fn storm() -> f64 {
    near().block_on(async {
        let starts = Latch::new(2 * CHILDREN);
        let parent = Parent::spawn(Arc::clone(&starts));
        starts.until(CHILDREN).await;
        let start = Instant::now();
        parent.tell(Panic).send().await.unwrap();
        starts.wait().await;
        nanos_each(start, CHILDREN)
    })
}

fn flood(under_way: usize) -> f64 {
    let (near, far) = (near(), far());
    let flood = Flood::default();
    let (flooded, sibling) = far.block_on(async {
        let flooded = Flooded::spawn_with_mailbox(flood.clone(), mailbox::bounded(ROOM));
        (flooded, Sum::spawn(()))
    });
    near.block_on(async {
        add(&sibling).await;
        for _ in 0..under_way {
            flooded.tell(Work).try_send().unwrap();
        }
        flood.pings(async || add(&sibling).await).await
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
    near().block_on(resident_each(count, async || crowd(count).await))
}
