//! The queue: what every implementation of it does.

use std::{future::Future, pin::Pin, time::Duration};

use crate::model::{
    Job, JobError, Lease, Leased, Needs, NewJob, Outcome, Page, PageQuery, Renewed, State, Taken,
};

/// The answer of a queue, in the future.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, JobError>> + Send + 'a>>;

/// A durable queue of jobs.
///
/// A job is acknowledged by [`JobQueue::enqueue`] only when the end of the process cannot lose it. It is carried out at least once, and has
/// one result: a lease that has passed cannot confirm.
pub trait JobQueue: Send + Sync {
    /// Queues a job. Returns it, and `true` if it is new: with the idempotency key of an earlier job, that job is returned.
    ///
    /// # Errors
    /// [`StoreError::Full`](crate::StoreError::Full) at a bound of the owner, and [`StoreError::OtherRequest`](crate::StoreError::OtherRequest) for the
    /// key of another request.
    fn enqueue<'a>(&'a self, owner: &'a str, job: NewJob) -> Answer<'a, (Job, bool)>;

    /// Returns a job.
    fn job<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, Job>;

    /// Returns the request and the result of a job; the result is empty if it has none.
    fn content<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, (Vec<u8>, Vec<u8>)>;

    /// Returns jobs of an owner, the newest first, those of one state if it is given. Jobs of batches are not among them.
    fn jobs<'a>(
        &'a self,
        owner: &'a str,
        page: PageQuery,
        state: Option<State>,
    ) -> Answer<'a, Page<Job>>;

    /// Cancels a job: at once if it waits, and soon if it runs. A job that has ended stays as it is.
    fn cancel<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, Job>;

    /// Leases jobs that are to be carried out now. Ends those whose time has passed, and queues those again whose leases have passed.
    fn take(&self, needs: Needs) -> Answer<'_, Taken>;

    /// Prolongs leases; returns the state of each.
    fn renew(&self, leases: Vec<Lease>, lease: Duration) -> Answer<'_, Vec<Renewed>>;

    /// Confirms the end of an attempt. Returns the new state; `None` if the lease has passed, so that nothing was changed.
    fn confirm<'a>(
        &'a self,
        job: &'a Leased,
        outcome: Outcome,
        attempts_max: u32,
    ) -> Answer<'a, Option<State>>;
}
