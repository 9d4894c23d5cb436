//! The pool of kameo's companion crate `kameo_actors` as a router.
//!
//! An `ActorPool` sends each message to the worker with the least to do, or to all, and replaces workers that stop.
//! It has no other way of choosing, no group, and no scatter-gather.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kameo::{
    actor::{Actor, ActorRef, Spawn},
    error::Infallible,
    mailbox,
    message::{Context, Message},
    reply::DelegatedReply,
};
use kameo_actors::pool::{ActorPool, Broadcast, Dispatch};

use crate::driver::{
    Unsupported,
    routers::{self as suite, Act, Choice, Claim, Handled, Job, Member, Soon, Spec, Stage},
};

/// The driver.
#[derive(Debug)]
pub(super) struct Routers;

impl suite::Driver for Routers {
    fn open(&self) -> Box<dyn Stage> {
        Box::new(Floor::default())
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        Err(match claim {
            Claim::TurnsByDefault => Unsupported("turns, but the worker with the least to do"),
            Claim::RouteesLeave => Unsupported("pool whose workers are not replaced"),
            Claim::AddsNoRoom => Unsupported("pool without a mailbox of its own"),
        })
    }
}

/// What all workers of a stage share.
#[derive(Clone, Default)]
struct Floor(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    handled: Vec<Handled>,
    /// The numbers of the workers that live: a new one takes the lowest that is free.
    living: BTreeSet<usize>,
}

impl Floor {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routee(&self) -> Routee {
        let mut noted = self.noted();
        let mut number = 1;
        while !noted.living.insert(number) {
            number += 1;
        }
        drop(noted);
        Routee {
            number,
            floor: self.clone(),
        }
    }
}

#[derive(Clone)]
struct Do(Job);

struct Routee {
    number: usize,
    floor: Floor,
}

impl Drop for Routee {
    fn drop(&mut self) {
        self.floor.noted().living.remove(&self.number);
    }
}

impl Actor for Routee {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(routee: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(routee)
    }
}

impl Message<Do> for Routee {
    type Reply = DelegatedReply<String>;

    #[expect(
        clippy::panic,
        reason = "a routee that panics is what the case is about"
    )]
    async fn handle(
        &mut self,
        Do(job): Do,
        ctx: &mut Context<Self, Self::Reply>,
    ) -> DelegatedReply<String> {
        let name = self.number.to_string();
        let handled = (name.clone(), job.key);
        self.floor.noted().handled.push(handled);
        let (delegated, reply) = ctx.reply_sender();
        match job.act {
            Act::Answer => {}
            Act::Panic => panic!("on purpose"),
            Act::Stop => ctx.stop(),
            Act::Hold(time) => tokio::time::sleep(time).await,
            Act::NoAnswerFrom(silent) if silent == name => return delegated,
            Act::NoAnswerFrom(_) => {}
        }
        if let Some(reply) = reply {
            reply.send(name);
        }
        delegated
    }
}

impl Stage for Floor {
    fn pool(&self, size: usize, spec: Spec) -> Result<Box<dyn suite::Router>, Unsupported> {
        match spec.choice {
            Choice::Default | Choice::LeastLoaded => {}
            Choice::RoundRobin => return Err(Unsupported("choice in turns")),
            Choice::Random(_) => return Err(Unsupported("choice by chance")),
            Choice::ByKey => return Err(Unsupported("choice by key")),
        }
        if spec.broadcast_from.is_some() {
            return Err(Unsupported("broadcast by what a message says"));
        }
        let floor = self.clone();
        let pool = ActorPool::new(size, move || {
            Routee::spawn_with_mailbox(floor.routee(), mailbox::bounded(spec.mailbox))
        });
        let pool = ActorPool::spawn_with_mailbox(pool, mailbox::bounded(spec.mailbox));
        Ok(Box::new(Pool(pool)))
    }

    fn group(&self, _: Spec) -> Result<Box<dyn suite::Router>, Unsupported> {
        Err(Unsupported("router over a group"))
    }

    fn member(&self, _: &'static str) -> Result<Box<dyn Member>, Unsupported> {
        Err(Unsupported("router over a group"))
    }

    fn handled(&self) -> Vec<Handled> {
        std::mem::take(&mut self.noted().handled)
    }

    fn dead_letters(&self) -> Result<u64, Unsupported> {
        Err(Unsupported("dead letters"))
    }

    fn living(&self) -> Result<usize, Unsupported> {
        Ok(self.noted().living.len())
    }
}

struct Pool(ActorRef<ActorPool<Routee>>);

type Asked<'a> = Soon<'a, Result<Option<String>, Unsupported>>;

impl suite::Router for Pool {
    fn tell(&self, job: Job) -> bool {
        self.0.tell(Dispatch(Do(job))).try_send().is_ok()
    }

    fn ask(&self, job: Job, timeout: Duration) -> Asked<'_> {
        Box::pin(async move {
            let ask = self.0.ask(Dispatch(Do(job)));
            // One timeout for both: the wait for room, and for the answer.
            let asked = tokio::time::timeout(timeout, ask.send()).await;
            Ok(asked.ok().and_then(Result::ok))
        })
    }

    fn ask_first(&self, _: Job, _: Duration) -> Asked<'_> {
        Box::pin(async { Err(Unsupported("ask of all workers")) })
    }

    fn ask_tail_chopping(&self, _: Job, _: Duration, _: Duration) -> Asked<'_> {
        Box::pin(async { Err(Unsupported("ask of one worker after the other")) })
    }

    fn broadcast(&self, job: Job) -> Result<(), Unsupported> {
        let told = self.0.tell(Broadcast(Do(job))).try_send();
        told.map_err(|_| Unsupported("broadcast by a pool that has stopped"))
    }

    fn stop(&self) {
        let pool = self.0.clone();
        tokio::spawn(async move {
            let _it_may_have_stopped = pool.stop_gracefully().await;
        });
    }

    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }
}
