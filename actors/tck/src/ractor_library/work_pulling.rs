//! Ractor's factory as a desk: jobs wait in its queue until a worker is free, and come back until they are completed.
//!
//! A worker holds a job by not returning from its handler; it confirms by completing the job's `RetriableMessage`.
//! Nobody is asked for a job, and nobody hears of its end: producers and receipts are not claimed. Workers are added by
//! growing the pool; one that ends is always replaced.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use ractor::{
    ActorProcessingErr, ActorRuntime,
    factory::{
        Factory, FactoryArguments, FactoryMessagingErr, FactoryRef, Job, MessageRetryStrategy,
        RetriableMessage, Worker, WorkerId, queues::DefaultQueue, routing::QueuerRouting,
        worker_builder,
    },
    rpc::CallResult,
};
use tokio::sync::oneshot;

use crate::driver::{
    Unsupported,
    work_pulling::{self as suite, After, Claim, Desk, Driver, Receipt, Soon, Spec},
};

/// How long a question to a factory may take; it answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The driver.
#[derive(Debug)]
pub(super) struct Pulling;

impl Driver for Pulling {
    fn open(&self, spec: Spec) -> Result<Box<dyn Desk>, Unsupported> {
        if spec.buffer.is_some() {
            return Err(Unsupported("bound on jobs that are not done"));
        }
        let hands = Hands::default();
        let workers = hands.clone();
        let arguments = FactoryArguments::builder()
            .worker_builder(Box::new(worker_builder(move |_| {
                (Holder(workers.clone()), ())
            })))
            .num_initial_workers(0)
            .router(QueuerRouting::default())
            .queue(DefaultQueue::default())
            .build();
        let factory = Factory::<u32, Kept, (), Holder, QueuerRouting<u32, Kept>, Queue>::default();
        let spawned = ActorRuntime::spawn_instant(None, factory, arguments);
        let (factory, _) = spawned.map_err(|_| Unsupported("such factory"))?;
        Ok(Box::new(Bench {
            factory,
            hands,
            deliveries_max: spec.deliveries_max,
            hired: AtomicUsize::new(0),
        }))
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        match claim {
            Claim::WorkersLeave => Err(Unsupported("pool whose workers are not replaced")),
        }
    }
}

type Kept = RetriableMessage<u32, u32>;
type Queue = DefaultQueue<u32, Kept>;

/// What a case has a worker do with a job that it holds.
enum JobEnd {
    Confirm,
    Forget,
    Panic,
}

/// A job in the hands of a worker.
struct Held {
    wid: WorkerId,
    job: u32,
    decide: oneshot::Sender<JobEnd>,
}

/// What all workers of a desk hold.
#[derive(Clone, Default)]
struct Hands(Arc<Mutex<Vec<Held>>>);

impl Hands {
    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, wid: WorkerId, job: u32) -> oneshot::Receiver<JobEnd> {
        let (decide, decided) = oneshot::channel();
        self.held().push(Held { wid, job, decide });
        decided
    }

    /// Decides on the job that a worker got first; returns `true` if it held one.
    fn decide(&self, wid: WorkerId, end: JobEnd) -> bool {
        let mut held = self.held();
        let Some(first) = held.iter().position(|held| held.wid == wid) else {
            return false;
        };
        held.remove(first).decide.send(end).is_ok()
    }
}

struct Holder(Hands);

impl Worker for Holder {
    type Key = u32;
    type Message = Kept;
    type Arguments = ();
    type State = ();

    async fn pre_start(
        &self,
        _: WorkerId,
        _: &FactoryRef<u32, Kept>,
        (): (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    #[expect(
        clippy::panic,
        reason = "a worker that panics is what the case is about"
    )]
    async fn handle(
        &self,
        wid: WorkerId,
        _: &FactoryRef<u32, Kept>,
        mut job: Job<u32, Kept>,
        (): &mut (),
    ) -> Result<u32, ActorProcessingErr> {
        match self.0.hold(wid, job.key).await {
            Ok(JobEnd::Confirm) => job.msg.completed(),
            Ok(JobEnd::Panic) => panic!("on purpose"),
            Ok(JobEnd::Forget) | Err(_) => {}
        }
        Ok(job.key)
    }
}

struct Bench {
    factory: FactoryRef<u32, Kept>,
    hands: Hands,
    deliveries_max: Option<u32>,
    hired: AtomicUsize,
}

type Counted<'a> = Pin<
    Box<dyn Future<Output = Result<CallResult<usize>, FactoryMessagingErr<u32, Kept>>> + Send + 'a>,
>;

async fn count(asked: Counted<'_>) -> Result<usize, Unsupported> {
    match asked.await {
        Ok(CallResult::Success(count)) => Ok(count),
        _ => Err(Unsupported("answer of a factory that stopped")),
    }
}

impl Desk for Bench {
    fn offer(&self, job: u32) -> Result<bool, Unsupported> {
        let strategy = match self.deliveries_max {
            None => MessageRetryStrategy::RetryForever,
            Some(deliveries) => {
                let retries = usize::try_from(deliveries).unwrap_or(usize::MAX);
                MessageRetryStrategy::Count(retries.saturating_sub(1))
            }
        };
        let sent = self
            .factory
            .submit_retriable_job(Job::new(job, job), strategy);
        Ok(sent.is_ok())
    }

    fn submit(&self, _: u32) -> Result<Box<dyn Receipt>, Unsupported> {
        Err(Unsupported("word of what became of a job"))
    }

    fn start_producer(&self) -> Result<(), Unsupported> {
        Err(Unsupported("producer that is asked for jobs"))
    }

    fn requests(&self) -> usize {
        0
    }

    fn send(&self, _: u32) -> Option<Box<dyn Receipt>> {
        None
    }

    fn worker(&self, _: &'static str, _: After) -> Box<dyn suite::Worker> {
        let wid = self.hired.fetch_add(1, SeqCst);
        let _a_stopped_desk_hires_nobody = self.factory.adjust_worker_pool(wid + 1);
        let hands = self.hands.clone();
        Box::new(Hired { wid, hands })
    }

    fn counts(&self) -> Soon<'_, Result<(usize, usize, usize), Unsupported>> {
        Box::pin(async {
            // Without a bound, the capacity that is left is the number of idle workers.
            let idle = count(Box::pin(
                self.factory.available_capacity(Some(ANSWER_TIMEOUT)),
            ))
            .await?;
            let busy = count(Box::pin(self.factory.active_workers(Some(ANSWER_TIMEOUT)))).await?;
            let waiting = count(Box::pin(self.factory.queue_depth(Some(ANSWER_TIMEOUT)))).await?;
            Ok((idle + busy, waiting, busy))
        })
    }

    fn stop(&self) {
        self.factory.stop(None);
    }
}

struct Hired {
    wid: WorkerId,
    hands: Hands,
}

impl suite::Worker for Hired {
    fn jobs(&self) -> Vec<u32> {
        let held = self.hands.held();
        let mine = held.iter().filter(|held| held.wid == self.wid);
        mine.map(|held| held.job).collect()
    }

    fn confirm(&self) -> bool {
        self.hands.decide(self.wid, JobEnd::Confirm)
    }

    fn forget(&self) -> Result<(), Unsupported> {
        self.hands.decide(self.wid, JobEnd::Forget);
        Ok(())
    }

    fn panic(&self) {
        self.hands.decide(self.wid, JobEnd::Panic);
    }

    /// Only asked for where workers leave.
    fn stop(&self) {
        self.hands.decide(self.wid, JobEnd::Panic);
    }

    fn leave(&self) -> Result<(), Unsupported> {
        Err(Unsupported("handover by a worker that leaves"))
    }
}
