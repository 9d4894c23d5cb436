//! Ractor's factory as a router: a pool of workers to which it dispatches jobs.
//!
//! A factory is spawned with one of its own ways of routing; its refusals come through the port by which a job can
//! be told that it was accepted. Groups are not claimed: ractor documents process groups as membership and as
//! something to send to by hand, not as routing.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use ractor::{
    ActorProcessingErr, ActorRuntime, ActorStatus, RpcReplyPort,
    factory::{
        DiscardMode, DiscardSettings, Factory, FactoryArguments, FactoryRef, Job as RactorJob,
        Worker, WorkerId, queues::DefaultQueue, routing, worker_builder,
    },
};

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
        match claim {
            Claim::TurnsByDefault => Err(Unsupported("way of routing by default")),
            Claim::RouteesLeave => Err(Unsupported("pool whose workers are not replaced")),
            Claim::AddsNoRoom => Ok(()),
        }
    }
}

/// What all workers of a stage share.
#[derive(Clone, Default)]
struct Floor {
    log: Arc<Mutex<Vec<Handled>>>,
    living: Arc<AtomicUsize>,
}

/// A worker's message.
struct Work {
    act: Act,
    reply: Option<RpcReplyPort<String>>,
}

struct Routee(Floor);

/// Counts a worker for as long as it lives.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Worker for Routee {
    type Key = u32;
    type Message = Work;
    type Arguments = ();
    type State = Alive;

    async fn pre_start(
        &self,
        _: WorkerId,
        _: &FactoryRef<u32, Work>,
        (): (),
    ) -> Result<Alive, ActorProcessingErr> {
        self.0.living.fetch_add(1, SeqCst);
        Ok(Alive(Arc::clone(&self.0.living)))
    }

    #[expect(
        clippy::panic,
        reason = "a routee that panics is what the case is about"
    )]
    async fn handle(
        &self,
        wid: WorkerId,
        _: &FactoryRef<u32, Work>,
        RactorJob { key, msg, .. }: RactorJob<u32, Work>,
        _: &mut Alive,
    ) -> Result<u32, ActorProcessingErr> {
        let name = (wid + 1).to_string();
        self.0.note(&name, key);
        match msg.act {
            Act::Answer => {}
            Act::Panic => panic!("on purpose"),
            // A worker has no other end of its own making.
            Act::Stop => return Err(ActorProcessingErr::from("on purpose")),
            Act::Hold(time) => tokio::time::sleep(time).await,
            Act::NoAnswerFrom(silent) if silent == name => return Ok(key),
            Act::NoAnswerFrom(_) => {}
        }
        if let Some(reply) = msg.reply {
            let _nobody_waits = reply.send(name);
        }
        Ok(key)
    }
}

impl Floor {
    fn note(&self, name: &str, key: u32) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((name.to_owned(), key));
    }

    fn spawn<R>(&self, size: usize, spec: Spec, router: R) -> Result<Box<Pool>, Unsupported>
    where
        R: routing::Router<u32, Work>,
    {
        let floor = self.clone();
        let arguments = FactoryArguments::builder()
            .worker_builder(Box::new(worker_builder(move |_| {
                (Routee(floor.clone()), ())
            })))
            .num_initial_workers(size)
            .router(router)
            .queue(DefaultQueue::default())
            .discard_settings(DiscardSettings::Static {
                limit: spec.mailbox,
                mode: DiscardMode::Newest,
            })
            .build();
        let factory = Factory::<u32, Work, (), Routee, R, DefaultQueue<u32, Work>>::default();
        // What is told before its workers have started waits in its mailbox.
        let spawned = ActorRuntime::spawn_instant(None, factory, arguments);
        let (factory, _) = spawned.map_err(|_| Unsupported("such factory"))?;
        Ok(Box::new(Pool(factory)))
    }
}

impl Stage for Floor {
    fn pool(&self, size: usize, spec: Spec) -> Result<Box<dyn suite::Router>, Unsupported> {
        if spec.broadcast_from.is_some() {
            return Err(Unsupported("broadcast to all workers"));
        }
        match spec.choice {
            // There is no default; it is the one whose workers have each a queue, and so a bound, of their own.
            Choice::Default | Choice::RoundRobin => {
                Ok(self.spawn(size, spec, routing::RoundRobinRouting::default())?)
            }
            Choice::ByKey => {
                Ok(self.spawn(size, spec, routing::KeyPersistentRouting::default())?)
            }
            Choice::LeastLoaded => Ok(self.spawn(size, spec, routing::QueuerRouting::default())?),
            Choice::Random(_) => Err(Unsupported("choice by chance")),
        }
    }

    fn group(&self, _: Spec) -> Result<Box<dyn suite::Router>, Unsupported> {
        Err(Unsupported("router over a group"))
    }

    fn member(&self, _: &'static str) -> Result<Box<dyn Member>, Unsupported> {
        Err(Unsupported("router over a group"))
    }

    fn handled(&self) -> Vec<Handled> {
        std::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn dead_letters(&self) -> Result<u64, Unsupported> {
        Err(Unsupported("dead letters"))
    }

    fn living(&self) -> Result<usize, Unsupported> {
        Ok(self.living.load(SeqCst))
    }
}

struct Pool(FactoryRef<u32, Work>);

type Asked<'a> = Soon<'a, Result<Option<String>, Unsupported>>;

impl suite::Router for Pool {
    fn tell(&self, Job { key, act }: Job) -> bool {
        self.0.dispatch(key, Work { act, reply: None }).is_ok()
    }

    fn offer(&self, Job { key, act }: Job) -> Soon<'_, bool> {
        let (accepted, heard) = ractor::concurrency::oneshot();
        let job = RactorJob::builder()
            .key(key)
            .msg(Work { act, reply: None })
            .accepted(accepted.into())
            .build();
        let sent = self.0.dispatch_job(job);
        // The job comes back when it is not accepted.
        Box::pin(async move { sent.is_ok() && matches!(heard.await, Ok(None)) })
    }

    fn ask(&self, Job { key, act }: Job, timeout: Duration) -> Asked<'_> {
        Box::pin(async move {
            let work = |reply| Work {
                act,
                reply: Some(reply),
            };
            let called = self.0.call_job(key, work, Some(timeout)).await;
            Ok(called.ok().and_then(|answer| answer.success_or(()).ok()))
        })
    }

    fn ask_first(&self, _: Job, _: Duration) -> Asked<'_> {
        Box::pin(async { Err(Unsupported("call of all workers")) })
    }

    fn ask_tail_chopping(&self, _: Job, _: Duration, _: Duration) -> Asked<'_> {
        Box::pin(async { Err(Unsupported("call of one worker after the other")) })
    }

    fn broadcast(&self, _: Job) -> Result<(), Unsupported> {
        Err(Unsupported("broadcast to all workers"))
    }

    fn stop(&self) {
        self.0.stop(None);
    }

    fn is_alive(&self) -> bool {
        self.0.get_status() != ActorStatus::Stopped
    }
}
