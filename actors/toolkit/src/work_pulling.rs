//! Work pulling: jobs wait at a desk until a worker has room for one, and each job is done at least once.
//!
//! Owns the jobs that are not done yet; their number is bounded. An idle worker gets the oldest job, one at a time,
//! and confirms it. If a worker drops a job, or stops while it has one, the job goes to another worker. Pushing work
//! to workers would require guessing which one has room, and would lose the jobs of a worker that stops. A job is
//! never with two workers at once, and an accepted job is never lost: it is confirmed, given back or, when the desk
//! stops, counted as a dead letter.
//!
//! Source: Pekko's `WorkPullingProducerController` and `ConsumerController`. Differences:
//! - A delivery returns to the desk when it is dropped, so that a worker that restarts or forgets it need not register
//!   again. Pekko sends it again when the consumer has started again.
//! - A worker has one job. In Pekko it has a window of 50, of which it sees one at a time; a job that lies behind
//!   another in the window of a slow worker cannot go to an idle one.
//! - A producer may offer a job without a request; the bound counts all jobs that are not done. Pekko's producer must
//!   wait for `RequestNext`, and its bound of 1000 counts waiting jobs only.
//! - Jobs that are lost too often can be given back. Pekko delivers them without a limit.
//! - There is no durable queue: jobs are kept in memory.

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

/// The number of jobs that may be accepted and not done, as in Pekko.
const BUFFER: usize = 1000;
/// The time within which a desk must answer. A desk never works for long.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A desk where jobs `T` wait for workers; clones share it.
pub struct WorkPulling<T: Send + Sync + 'static> {
    desk: ActorRef<Desk<T>>,
    permits: Permits,
    system: ActorSystem,
}

/// A builder of a desk.
pub struct WorkPullingBuilder<T: Send + Sync + 'static> {
    buffer: usize,
    deliveries_max: Option<u32>,
    given_back: Option<Recipient<GivenBack<T>>>,
}

/// Sent to a producer when a worker waits for a job. The producer may then send one job, for which the buffer has
/// room. No other request is sent until the producer has sent a job. If the request is dropped unused, it is sent
/// again when the state of the desk changes.
pub struct RequestNext<T: Send + Sync + 'static> {
    work: WorkPulling<T>,
    number: u64,
    /// Taken when the job is sent.
    permit: Option<Permit>,
}

impl<T: Send + Sync + 'static> Message for RequestNext<T> {
    type Result = ();
}

/// Sent when as many workers lost a job as the limit allows.
#[derive(Debug)]
pub struct GivenBack<T> {
    /// The job.
    pub job: Arc<T>,
    /// The number of times it was delivered.
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
    /// Sets the number of jobs that may be accepted and not done, waiting or in work; at least 1, default 1000.
    #[must_use]
    pub fn buffer(mut self, jobs: usize) -> Self {
        self.buffer = jobs.max(1);
        self
    }

    /// Sets the number of times a job may be delivered before it is given back; at least 1, default no limit.
    #[must_use]
    pub fn deliveries_max(mut self, deliveries: u32) -> Self {
        self.deliveries_max = Some(deliveries.max(1));
        self
    }

    /// Sets the receiver of the jobs that are given back. Without one, or if it refuses them, they are dead
    /// letters.
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
        // Only a recipient that is a user's function can panic here. The book must stay intact in that case.
        (props.supervise(Strategy::resume()), permits)
    }
}

impl<T: Send + Sync + 'static> WorkPulling<T> {
    /// Returns a builder of a desk.
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

    /// Offers a job without waiting. A full buffer drops the job, which is counted as a dead letter.
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

    /// Offers a job; returns a receipt that shows its progress.
    ///
    /// # Errors
    /// Returns the job if the buffer is full or the desk has stopped.
    pub fn submit(&self, job: T) -> Result<Receipt, (WorkError, T)> {
        if !self.desk.is_alive() {
            return Err((WorkError::Stopped, job));
        }
        match self.permits.take() {
            Some(permit) => Ok(self.send(job, permit, None)),
            None => Err((WorkError::Full, job)),
        }
    }

    /// Sends a job that has a permit; a stopped desk drops it, which the receipt shows.
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

    /// Offers a job and waits, at most for `timeout`, until a worker has confirmed it. Returns the number of times it
    /// was delivered. Dropping the future does not withdraw the job.
    ///
    /// # Errors
    /// See [`WorkError`].
    pub async fn ask(&self, job: T, timeout: Duration) -> Result<u32, WorkError> {
        let mut receipt = self.submit(job).map_err(|(error, _)| error)?;
        receipt.confirmed_within(timeout).await
    }

    /// Registers the producer. It is sent a [`RequestNext`] whenever a worker waits and no job does: one for each job
    /// that it sends. A second producer replaces the first. Registering the same producer again sends it a new
    /// request.
    pub fn start_producer(&self, producer: Recipient<RequestNext<T>>) {
        self.desk.inform(StartProducer(producer));
    }

    /// Registers a worker until it stops: it gets a job whenever it has confirmed the last one. Deliveries use its
    /// control queue. Registering it again has no effect.
    pub fn register<W>(&self, worker: &ActorRef<W>)
    where
        W: Actor<Context = Context<W>> + Handler<Delivery<T>>,
    {
        self.desk.inform(Register(worker.narrow()));
    }

    /// Deregisters a worker. Its job is withdrawn and goes to another.
    pub fn deregister<W: Actor>(&self, worker: &ActorRef<W>) {
        self.desk.inform(Strike(ActorId(worker.core.id)));
    }

    /// Registers the workers that the receptionist lists under `key`, now and later. One that leaves the listing is
    /// deregistered.
    pub fn register_listed(&self, key: &ServiceKey<Delivery<T>>) {
        let listings = self.desk.control_recipient();
        self.system.receptionist().subscribe(key, listings);
    }

    /// Returns the counts of workers and jobs.
    ///
    /// # Errors
    /// Returns an error if the desk has stopped.
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

    /// Sends the requested job. If the desk has stopped meanwhile, the receipt shows it.
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
