//! The actors under measurement, on ractor. Its supervisor restarts a child itself, as the library leaves that to it.

use std::{sync::Arc, time::Instant};

use ractor::{
    Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, rpc::CallResult,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    cases::{
        ASKS, BATCH, CHILDREN, Case, FAR_ASKS, LONG, SPAWNS, TELLS, nanos_each, resident_each,
    },
    flood::{Flood, UNDER_WAY},
    latch::Latch,
};

struct Sum;

enum Order {
    Add(u64),
    Ask(u64, RpcReplyPort<u64>),
    Hello(Arc<Latch>),
}

impl Actor for Sum {
    type Msg = Order;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Order>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Order>,
        order: Order,
        sum: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Add(n) => *sum += n,
            Order::Ask(n, port) => {
                *sum += n;
                port.send(*sum)?;
            }
            Order::Hello(latch) => latch.count_down(),
        }
        Ok(())
    }
}

struct Child;

struct Panic;

impl Actor for Child {
    type Msg = Panic;
    type State = ();
    type Arguments = Arc<Latch>;

    async fn pre_start(
        &self,
        _: ActorRef<Panic>,
        latch: Arc<Latch>,
    ) -> Result<(), ActorProcessingErr> {
        latch.count_down();
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Panic>,
        _: Panic,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        panic!("on purpose");
    }
}

struct Parent;

struct Children {
    latch: Arc<Latch>,
    refs: Vec<ActorRef<Panic>>,
}

impl Actor for Parent {
    type Msg = Panic;
    type State = Children;
    type Arguments = Arc<Latch>;

    async fn pre_start(
        &self,
        myself: ActorRef<Panic>,
        latch: Arc<Latch>,
    ) -> Result<Children, ActorProcessingErr> {
        let mut refs = Vec::new();
        for _ in 0..CHILDREN {
            let spawned = Child::spawn_linked(None, Child, Arc::clone(&latch), myself.get_cell());
            refs.push(spawned.await?.0);
        }
        Ok(Children { latch, refs })
    }

    async fn handle(
        &self,
        _: ActorRef<Panic>,
        _: Panic,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        for child in &children.refs {
            child.send_message(Panic)?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Panic>,
        event: SupervisionEvent,
        children: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(..) = event {
            let latch = Arc::clone(&children.latch);
            Child::spawn_linked(None, Child, latch, myself.get_cell()).await?;
        }
        Ok(())
    }
}

struct Flooded;

struct Work;

impl Actor for Flooded {
    type Msg = Work;
    type State = Flood;
    type Arguments = Flood;

    async fn pre_start(
        &self,
        _: ActorRef<Work>,
        flood: Flood,
    ) -> Result<Flood, ActorProcessingErr> {
        Ok(flood)
    }

    async fn handle(
        &self,
        myself: ActorRef<Work>,
        _: Work,
        flood: &mut Flood,
    ) -> Result<(), ActorProcessingErr> {
        if flood.work() {
            myself.send_message(Work)?;
        }
        Ok(())
    }
}

/// The runtime of the sender, and of all where one thread is measured.
pub(crate) fn near() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A runtime with one thread, for the actors where two are measured.
pub(crate) fn far() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

async fn new_sum() -> ActorRef<Order> {
    Sum::spawn(None, Sum, ()).await.unwrap().0
}

async fn add(sum: &ActorRef<Order>) {
    let answer = sum
        .call(|port| Order::Ask(1, port), Some(LONG))
        .await
        .unwrap();
    assert!(matches!(answer, CallResult::Success(_)));
}

fn with_sum(is_far: bool, body: impl AsyncFnOnce(&ActorRef<Order>) -> f64) -> f64 {
    let (near, other) = (near(), is_far.then(far));
    let sum = other.as_ref().unwrap_or(&near).block_on(new_sum());
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
                sum.send_message(Order::Add(1)).unwrap();
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
async fn crowd(count: usize) -> Vec<ActorRef<Order>> {
    let latch = Latch::new(count);
    let mut crowd = Vec::with_capacity(count);
    for _ in 0..count {
        let sum = new_sum().await;
        sum.send_message(Order::Hello(Arc::clone(&latch))).unwrap();
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
        let spawned = Parent::spawn(None, Parent, Arc::clone(&starts)).await;
        let (parent, _) = spawned.unwrap();
        starts.until(CHILDREN).await;
        let start = Instant::now();
        parent.send_message(Panic).unwrap();
        starts.wait().await;
        nanos_each(start, CHILDREN)
    })
}

fn flood(under_way: usize) -> f64 {
    let (near, far) = (near(), far());
    let flood = Flood::default();
    let (flooded, sibling) = far.block_on(async {
        let spawned = Flooded::spawn(None, Flooded, flood.clone()).await;
        (spawned.unwrap().0, new_sum().await)
    });
    near.block_on(async {
        add(&sibling).await;
        for _ in 0..under_way {
            flooded.send_message(Work).unwrap();
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
