//! The actor that has jobs carried out.
//!
//! The queue is the store: the actor leases as many jobs as it may run at once, prolongs the leases while their work goes on, and confirms the
//! ends. So nothing is lost whenever the process ends, and only what was not confirmed is repeated. A job whose work panics keeps its lease
//! until that passes, and is tried again after the others. The work of all jobs runs on the thread of this actor.

mod closing;

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use actix::{Actor, ArbiterHandle, Handler, Message};
use kebne_actors::{Context, Props, Strategy};
use tokio::sync::oneshot;

use crate::{
    handle::Jobs,
    model::{Delivery, Lease, Leased, Needs, Outcome, Renewed, Taken},
    queue::JobQueue,
    sqlite::Collecting,
};

use closing::Closed;

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The longest time between two looks for work: another process may have queued some, or the store may have failed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Parts of the time of a lease: it is prolonged after one of them, so that two attempts to prolong it may fail.
const LEASE_PARTS: u32 = 3;
/// The time between two attempts to confirm the end of a job while the store fails.
const CONFIRM_AGAIN: Duration = Duration::from_millis(500);

/// Work in the future, on the thread of the dispatcher.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Carries out what jobs ask for.
pub trait Worker: Send + Sync {
    /// Carries out a job. The future is dropped if the job is cancelled or its lease has passed.
    fn run<'a>(&'a self, job: &'a Leased) -> Work<'a, Outcome>;

    /// Collects the results of a batch whose jobs have all ended; returns the new details of the batch, or `None` to be asked again later.
    fn collect<'a>(&'a self, batch: &'a Collecting) -> Work<'a, Option<Vec<u8>>> {
        let details = batch.batch.details.clone();
        Box::pin(async move { Some(details) })
    }

    /// Delivers a notice.
    fn deliver<'a>(&'a self, _delivery: &'a Delivery) -> Work<'a, Delivered> {
        Box::pin(async { Delivered::Refused })
    }
}

/// The result of an attempt to deliver a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The receiver has it.
    Done,
    /// It is to be delivered again, after this time at least.
    Again(Duration),
    /// It will never be delivered.
    Refused,
}

/// There may be work.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

/// No more jobs are to be taken.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Asks whether jobs run.
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct IsBusy;

/// The leases are to be prolonged.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
struct Renew;

/// Jobs were leased, or the store failed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Took(Option<Taken>);

/// Leases were prolonged, or the store failed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Prolonged(Vec<Lease>, Option<Vec<Renewed>>);

/// The work of a job has ended. One that panicked is not confirmed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Done(Lease);

/// Why a job is ended.
#[derive(Clone, Copy, Debug)]
enum Stop {
    Cancel,
    Lost,
}

/// Whether jobs are being leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    Idle,
    Busy,
    /// They are, and more were asked for meanwhile.
    Woken,
}

/// The actor.
pub(crate) struct Dispatcher {
    jobs: Jobs,
    worker: Arc<dyn Worker>,
    running: BTreeMap<i64, (Lease, Option<oneshot::Sender<Stop>>)>,
    taking: Taking,
    is_prolonging: bool,
    is_draining: bool,
    /// The work behind the ends of jobs that is going on: the collection of a batch, and deliveries.
    closing: closing::Busy,
}

impl Dispatcher {
    /// Returns the props of the actor, which restarts without a limit and with a backoff.
    pub(crate) fn props(
        jobs: &Jobs,
        worker: Arc<dyn Worker>,
        thread: ArbiterHandle,
    ) -> Props<Self> {
        let jobs = jobs.clone();
        let create = move || Self {
            jobs: jobs.clone(),
            worker: Arc::clone(&worker),
            running: BTreeMap::new(),
            taking: Taking::Idle,
            is_prolonging: false,
            is_draining: false,
            closing: closing::Busy::default(),
        };
        Props::new(create)
            .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
            .on_arbiter(thread)
    }

    /// Takes jobs if some may run.
    fn take(&mut self, ctx: &mut Context<Self>) {
        let settings = self.jobs.settings();
        let free = settings.at_once.saturating_sub(self.running.len());
        if self.taking != Taking::Idle {
            self.taking = Taking::Woken;
            return;
        }
        if self.is_draining || free == 0 {
            return;
        }
        self.taking = Taking::Busy;
        let needs = Needs {
            most: free,
            per_owner: settings.at_once_per_tenant,
            lease: settings.lease.0,
            attempts_max: settings.attempts_max,
        };
        let jobs = self.jobs.clone();
        ctx.pipe_to_self(async move { jobs.take(needs).await.ok() }, Took);
    }

    fn begin(&mut self, job: Leased, ctx: &mut Context<Self>) {
        let (stop, stopped) = oneshot::channel();
        let lease = job.lease;
        self.running.insert(lease.number, (lease, Some(stop)));
        let (jobs, worker) = (self.jobs.clone(), Arc::clone(&self.worker));
        ctx.try_pipe_to_self(
            async move { carry_out(&jobs, &*worker, &job, stopped).await },
            move |_panicked| Done(lease),
        );
    }

    fn prolong(&mut self, ctx: &mut Context<Self>) {
        if self.is_prolonging || self.running.is_empty() {
            return;
        }
        self.is_prolonging = true;
        let leases: Vec<Lease> = self.running.values().map(|(lease, _)| *lease).collect();
        let (jobs, time) = (self.jobs.clone(), self.jobs.settings().lease.0);
        let asked = leases.clone();
        ctx.pipe_to_self(
            async move { jobs.renew(asked, time).await.ok() },
            move |renewed| Prolonged(leases, renewed),
        );
    }
}

/// Carries out a job until it ends or is stopped, and confirms its end.
async fn carry_out(
    jobs: &Jobs,
    worker: &dyn Worker,
    job: &Leased,
    stopped: oneshot::Receiver<Stop>,
) {
    let outcome = tokio::select! {
        biased;
        stop = stopped => match stop {
            Ok(Stop::Cancel) => Outcome::Cancelled,
            // Without its lease, or without the actor, its end cannot be confirmed.
            Ok(Stop::Lost) | Err(_) => return,
        },
        outcome = worker.run(job) => outcome,
    };
    let attempts_max = jobs.settings().attempts_max;
    let time = jobs.settings().lease.0;
    let confirming = async {
        while let Err(error) = jobs.confirm(job, outcome.clone(), attempts_max).await {
            tracing::warn!(job = job.id, %error, "the end of a job is not stored yet");
            tokio::time::sleep(CONFIRM_AGAIN).await;
        }
    };
    // Behind its lease the job is carried out again.
    if tokio::time::timeout(time, confirming).await.is_err() {
        tracing::error!(
            job = job.id,
            "the end of a job was not stored; it is repeated"
        );
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // An earlier process may have left some.
        self.take(ctx);
        self.close_all(ctx);
        ctx.start_timer_with_fixed_delay("look", Wake, LOOK_EVERY);
        let part = self.jobs.settings().lease.0 / LEASE_PARTS;
        ctx.start_timer_with_fixed_delay("renew", Renew, part);
    }
}

impl Handler<Wake> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.take(ctx);
        // Some may be cancelled.
        self.prolong(ctx);
        self.close_all(ctx);
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.is_draining = true;
    }
}

impl Handler<IsBusy> for Dispatcher {
    type Result = bool;

    fn handle(&mut self, _: IsBusy, _: &mut Context<Self>) -> bool {
        !self.running.is_empty()
    }
}

impl Handler<Renew> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Renew, ctx: &mut Context<Self>) {
        self.prolong(ctx);
    }
}

impl Handler<Took> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Took(taken): Took, ctx: &mut Context<Self>) {
        let is_woken = std::mem::replace(&mut self.taking, Taking::Idle) == Taking::Woken;
        let Some(taken) = taken else {
            return;
        };
        for job in taken.jobs {
            self.begin(job, ctx);
        }
        if !taken.ended.is_empty() {
            self.close_all(ctx);
        }
        if let Some(next) = taken.next {
            let wait = Duration::from_millis(next.saturating_sub(self.jobs.now()) + 1);
            ctx.start_timer("due", Wake, wait.min(LOOK_EVERY));
        }
        if is_woken {
            self.take(ctx);
        }
    }
}

impl Handler<Prolonged> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Prolonged(leases, renewed): Prolonged, _: &mut Context<Self>) {
        self.is_prolonging = false;
        for (lease, renewed) in leases.iter().zip(renewed.unwrap_or_default()) {
            let stop = match renewed {
                Renewed::Held => continue,
                Renewed::Cancelling => Stop::Cancel,
                Renewed::Lost => Stop::Lost,
            };
            if let Some((running, sender)) = self.running.get_mut(&lease.number)
                && running == lease
                && let Some(sender) = sender.take()
            {
                // Work that has just ended hears nothing.
                sender.send(stop).ok();
            }
        }
    }
}

impl Handler<Done> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Done(lease): Done, ctx: &mut Context<Self>) {
        let is_same = |(running, _): &(Lease, _)| *running == lease;
        if self.running.get(&lease.number).is_some_and(is_same) {
            self.running.remove(&lease.number);
        }
        self.take(ctx);
        self.close_all(ctx);
    }
}

impl Handler<Closed> for Dispatcher {
    type Result = ();

    fn handle(&mut self, closed: Closed, ctx: &mut Context<Self>) {
        self.closed(closed, ctx);
    }
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}
