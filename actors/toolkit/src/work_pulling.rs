//! Work pulling: jobs wait at a desk until a worker has room for one, and are done at least once.
//!
//! Owns the jobs that are not done yet, strictly bounded. A worker that is idle gets the oldest job, one at a
//! time, and confirms it; what a worker drops, or holds when it stops, goes to another. It exists because pushing
//! work at workers guesses who has room, and loses what a dead one had. It never hands a job to two workers at
//! once, and never forgets one that it accepted: each is confirmed, given back or, with the desk, counted as a
//! dead letter.
//!
//! Source: Pekko's `WorkPullingProducerController` and `ConsumerController`. What differs:
//! - A delivery comes back when it is dropped, so that a worker that restarts or forgets it need not register
//!   anew; Pekko sends it again when the consumer has started anew.
//! - A worker has one job, not a window of 50 of which it sees one at a time: a job that lies behind another in a
//!   slow worker's window could not go to an idle one.
//! - A producer may offer without being asked; the bound counts all jobs that are not done. Pekko's producer
//!   must wait for `RequestNext`, and its bound of 1000 counts what waits.
//! - Jobs that are lost too often may be given back; Pekko delivers them for ever.
//! - Nothing is kept on disk: there is no durable queue.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};

use crate::system::{
    ActorRef, ActorSystem, AskError, Context, Offer, Props, Recipient, ServiceKey, Strategy,
};

mod book;
mod delivery;
mod desk;
pub mod ledger;
pub mod permits;

pub use delivery::{Delivery, Progress, Receipt, WorkError};
pub use desk::WorkStats;

use book::ActorId;
use desk::{Declined, Desk, GetStats, Parts, Register, StartProducer, Strike, Submit};
use permits::{Permit, Permits};

/// Jobs that may be accepted and not done, as in Pekko.
const BUFFER: usize = 1000;
/// Time that a desk, which never works for long, has to say how it is.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A desk where jobs `T` wait for workers; clones share it.
pub struct WorkPulling<T: Send + Sync + 'static> {
    desk: ActorRef<Desk<T>>,
    permits: Permits,
    system: ActorSystem,
}

/// How to make a desk.
pub struct WorkPullingBuilder<T: Send + Sync + 'static> {
    buffer: usize,
    deliveries_max: Option<u32>,
    given_back: Option<Recipient<GivenBack<T>>>,
}

/// Tells a producer that a worker waits for a job: it may send one, for which there is room in the buffer. It is
/// told so once, until it has sent one. Dropped unused, it comes again when something changes at the desk.
pub struct RequestNext<T: Send + Sync + 'static> {
    work: WorkPulling<T>,
    number: u64,
    /// Taken when the job is sent.
    permit: Option<Permit>,
}

impl<T: Send + Sync + 'static> Message for RequestNext<T> {
    type Result = ();
}

/// A job that was lost by as many workers as is allowed.
#[derive(Debug)]
pub struct GivenBack<T> {
    /// The job.
    pub job: Arc<T>,
    /// How often it was delivered.
    pub deliveries: u32,
}

impl<T: 'static> Message for GivenBack<T> {
    type Result = ();
}

impl<T: Send + Sync + 'static> Default for WorkPullingBuilder<T> {
    fn default() -> Self {
        Self {
            buffer: BUFFER,
            deliveries_max: None,
            given_back: None,
        }
    }
}

impl<T: Send + Sync + 'static> WorkPullingBuilder<T> {
    /// Sets how many jobs may be accepted and not done, waiting or in work; at least 1, default 1000.
    #[must_use]
    pub fn buffer(mut self, jobs: usize) -> Self {
        self.buffer = jobs.max(1);
        self
    }

    /// Sets how often a job may be delivered before it is given back; at least 1, default without a limit.
    #[must_use]
    pub fn deliveries_max(mut self, deliveries: u32) -> Self {
        self.deliveries_max = Some(deliveries.max(1));
        self
    }

    /// Sets who gets the jobs that are given back; default nobody: they are dead letters then, as they are when
    /// the receiver refuses them.
    #[must_use]
    pub fn give_back_to(mut self, recipient: Recipient<GivenBack<T>>) -> Self {
        self.given_back = Some(recipient);
        self
    }

    /// Starts the desk as an actor under `/user`.
    pub fn spawn(self, system: &ActorSystem, name: &str) -> WorkPulling<T> {
        let (props, permits) = self.props();
        WorkPulling::new(system.spawn(props, name), permits, system)
    }

    /// Starts the desk as a child.
    pub fn spawn_child<A>(self, ctx: &mut Context<A>, name: &str) -> WorkPulling<T>
    where
        A: Actor<Context = Context<A>>,
    {
        let (props, permits) = self.props();
        WorkPulling::new(ctx.spawn_child(props, name), permits, ctx.system())
    }

    fn props(self) -> (Props<Desk<T>>, Permits) {
        let permits = Permits::new(self.buffer);
        let desk_permits = permits.clone();
        let props = Props::new(move || {
            Desk::new(Parts {
                deliveries_max: self.deliveries_max,
                given_back: self.given_back.clone(),
                permits: desk_permits.clone(),
            })
        });
        // Only a recipient that is a function of the user's can panic here; the book must outlive it.
        (props.supervise(Strategy::resume()), permits)
    }
}

impl<T: Send + Sync + 'static> WorkPulling<T> {
    /// Describes a desk.
    pub fn builder() -> WorkPullingBuilder<T> {
        WorkPullingBuilder::default()
    }

    fn new(desk: ActorRef<Desk<T>>, permits: Permits, system: &ActorSystem) -> Self {
        Self {
            desk,
            permits,
            system: system.clone(),
        }
    }

    /// Offers a job; never waits. A full buffer drops it, which is counted as a dead letter.
    pub fn offer(&self, job: T) -> Offer {
        match self.submit(job) {
            Ok(_nobody_looks_at_it) => Offer::Enqueued,
            Err((refusal, _)) => {
                let path: Arc<str> = self.path().into();
                let dead_letters = self.system.dead_letter_box();
                dead_letters.note_dropped::<T>(&path);
                match refusal {
                    WorkError::Full => Offer::Dropped,
                    _ => Offer::Closed,
                }
            }
        }
    }

    /// Offers a job; returns a receipt by which its progress is seen.
    ///
    /// # Errors
    /// Gives the job back when the buffer is full or the desk has stopped.
    pub fn submit(&self, job: T) -> Result<Receipt, (WorkError, T)> {
        if !self.desk.is_alive() {
            return Err((WorkError::Stopped, job));
        }
        match self.permits.take() {
            Some(permit) => Ok(self.send(job, permit, None)),
            None => Err((WorkError::Full, job)),
        }
    }

    /// Sends a job whose place is taken; a desk that has stopped drops it, and the receipt says so.
    fn send(&self, job: T, permit: Permit, request: Option<u64>) -> Receipt {
        let (progress, receipt) = Receipt::new();
        self.desk.inform(Submit {
            job: Arc::new(job),
            progress,
            permit,
            request,
        });
        receipt
    }

    /// Offers a job and waits until a worker has confirmed it, at most for `timeout`; returns how often it was
    /// delivered. Dropping the future does not take the job back.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub async fn ask(&self, job: T, timeout: Duration) -> Result<u32, WorkError> {
        let mut receipt = self.submit(job).map_err(|(error, _)| error)?;
        receipt.confirmed_within(timeout).await
    }

    /// Has `producer` told whenever a worker waits for a job and none waits for it: one [`RequestNext`] for each
    /// job it sends. A second producer takes the place of the first; started anew, it is told anew.
    pub fn start_producer(&self, producer: Recipient<RequestNext<T>>) {
        self.desk.inform(StartProducer(producer));
    }

    /// Enters a worker, until it stops: it gets a job whenever it has confirmed the last. Its deliveries go
    /// before other messages that wait for it. Registering it again changes nothing.
    pub fn register<W>(&self, worker: &ActorRef<W>)
    where
        W: Actor<Context = Context<W>> + Handler<Delivery<T>>,
    {
        self.desk.inform(Register(worker.narrow()));
    }

    /// Strikes a worker out. What it holds is withdrawn and goes to another.
    pub fn deregister<W: Actor>(&self, worker: &ActorRef<W>) {
        self.desk.inform(Strike(ActorId(worker.core.id)));
    }

    /// Takes the workers that the receptionist lists under `key`, now and later. One that leaves the listing
    /// is struck out.
    pub fn register_listed(&self, key: &ServiceKey<Delivery<T>>) {
        let listings = self.desk.control_recipient();
        self.system.receptionist().subscribe(key, listings);
    }

    /// Returns how the desk is doing.
    ///
    /// # Errors
    /// When the desk has stopped.
    pub async fn stats(&self) -> Result<WorkStats, AskError> {
        self.desk.ask_control(GetStats, ASK_TIMEOUT).await
    }

    /// Stops the desk. Jobs that are not done are withdrawn and counted as dead letters.
    pub fn stop(&self) {
        self.desk.stop();
    }

    /// Waits until the desk has stopped.
    pub async fn when_stopped(&self) {
        self.desk.when_stopped().await;
    }

    /// Returns the desk's path.
    pub fn path(&self) -> &str {
        self.desk.path()
    }
}

impl<T: Send + Sync + 'static> RequestNext<T> {
    fn new(work: WorkPulling<T>, number: u64, permit: Permit) -> Self {
        Self {
            work,
            number,
            permit: Some(permit),
        }
    }

    /// Sends the job that was asked for. When the desk has stopped meanwhile, the receipt says so.
    pub fn send(mut self, job: T) -> Receipt {
        match self.permit.take() {
            Some(permit) => self.work.send(job, permit, Some(self.number)),
            // Only a request that was used has no permit, and to use it is to consume it.
            None => Receipt::new().1,
        }
    }

    /// Sends the job and waits until it is confirmed.
    ///
    /// # Errors
    /// See [`WorkPulling::ask`].
    pub async fn ask(self, job: T, timeout: Duration) -> Result<u32, WorkError> {
        self.send(job).confirmed_within(timeout).await
    }
}

impl<T: Send + Sync + 'static> Drop for RequestNext<T> {
    fn drop(&mut self) {
        if self.permit.take().is_some() && self.work.desk.is_alive() {
            self.work.desk.inform(Declined(self.number));
        }
    }
}

impl<T: Send + Sync + 'static> Clone for WorkPulling<T> {
    fn clone(&self) -> Self {
        Self::new(self.desk.clone(), self.permits.clone(), &self.system)
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for WorkPulling<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("WorkPulling")
            .field(&self.path())
            .finish()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for RequestNext<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("RequestNext")
            .field(&self.work)
            .finish()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for WorkPullingBuilder<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorkPullingBuilder")
            .field("buffer", &self.buffer)
            .field("deliveries_max", &self.deliveries_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
