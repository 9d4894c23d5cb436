//! The handle of a lane, for callers; cheap to clone.

use std::{
    fmt,
    future::pending,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use kebne_control::{LaneState, RefusalReason, Replica, Snapshot};
use tokio::sync::{Notify, oneshot, watch};

use kebne_actors::{ActorRef, ActorState, work_pulling::permits::Permits};

use crate::{
    attempt_task::{AttemptParts, AttemptTask},
    backend::Backend,
    call::{CallError, CallOptions, Ending, Withdrawal},
    clock::Clock,
    endings::{EndingCounts, Endings},
    guard::{CallGuard, Reply},
    in_place::InPlace,
    job::{CallSuccess, Job, Shared},
    kept::Kept,
    lane::{CloseLane, Entrance, ReopenLane, Route},
    rate_controller::ControllerMemory,
    reports::LastReports,
    status::{LastFailure, Status},
    visit::Visit,
    worker_pool::{Close, CutOff, Enqueue, Resume, WakeRequest, WorkerPool},
};

/// The time within which the lane's actors must answer a command.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// The time beyond the deadline after which a caller stops waiting for the lane's answer. Only a thread that is blocked
/// by a backend takes that long.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// The least time between two wishes of a caller to take its call back while an attempt runs that is not taken back.
const WISH_GAP: Duration = Duration::from_millis(20);

/// A handle to one lane; clones share it.
pub struct LaneHandle<B: Backend> {
    pub(crate) inner: Arc<Inner<B>>,
}

pub(crate) struct Inner<B: Backend> {
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) attempts: AttemptParts<B>,
    pub(crate) permits: Permits,
    pub(crate) endings: Arc<Endings>,
    pub(crate) prewarms: Arc<Endings>,
    pub(crate) wake_request: WakeRequest<B>,
    pub(crate) status: Arc<Status>,
    pub(crate) learned: Kept<ControllerMemory>,
    pub(crate) lease_bell: Arc<Notify>,
    pub(crate) reports: LastReports,
    pub(crate) entrance: watch::Receiver<Entrance<B>>,
}

impl<B: Backend> LaneHandle<B> {
    /// Makes a call: waits in the queue, makes attempts, and returns the answer or an error.
    ///
    /// Dropping the future cancels the call. While the lane's actors restart, the call waits for them.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(
        &self,
        request: B::Request,
        options: CallOptions,
    ) -> Result<Reply<B::Response>, CallError> {
        self.call_or_withdraw(request, options, pending::<Withdrawal>)
            .await
    }

    /// Makes a call as [`LaneHandle::call`] does, and takes it back when `withdraw` ends: [`Withdrawal::Waiting`] while the
    /// call waits in the queue, or between a refusal and the next attempt; [`Withdrawal::Running`] also while an attempt runs
    /// whose answer has not begun. For callers that can make the call elsewhere.
    ///
    /// `withdraw` is run again when it ends and the call is not taken back. It should take some time: between two runs
    /// nothing else is waited for.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::Withdrawn`] if the call was taken back.
    pub async fn call_or_withdraw(
        &self,
        request: B::Request,
        options: CallOptions,
        withdraw: impl AsyncFnMut() -> Withdrawal,
    ) -> Result<Reply<B::Response>, CallError> {
        let inner = &*self.inner;
        inner.endings.call();
        let trail = options.trail.clone();
        let _visit =
            trail.map(|trail| Visit::enter(trail, &inner.name, &inner.status, inner.clock));
        let Some(permit) = inner.permits.take() else {
            inner.endings.end(Ending::Shed);
            return Err(CallError::Refused {
                reason: RefusalReason::QueueFull,
                retry_after: None,
                ready_in: None,
            });
        };
        let shared = Arc::new(Shared::new(permit));
        // From here on the guard counts the ending, even if this future is dropped.
        let mut guard = CallGuard::new(Arc::clone(&shared), Arc::clone(&inner.endings), None);
        let limit = options.deadline.saturating_add(ANSWER_GRACE);
        let offered = inner.offer(&mut guard, shared, request, options, withdraw);
        let error = match tokio::time::timeout(limit, offered).await {
            Ok(Ok(success)) => return Ok(Reply::new(success, guard)),
            Ok(Err(error)) => error,
            Err(_) => CallError::Timeout {
                what: "total",
                attempts: 0,
            },
        };
        if matches!(error, CallError::Withdrawn) {
            guard.withdraw();
        } else {
            guard.finish(error.ending());
        }
        Err(error)
    }

    /// Returns the lane's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the state that the controller published last.
    pub fn state(&self) -> LaneState {
        self.inner.status.state()
    }

    /// Returns the concurrency limit that the controller published last, in calls.
    pub fn limit(&self) -> u32 {
        self.inner.status.limit()
    }

    /// Returns what is known of the lane for the choice among replicas, without asking an actor. Its weight is 1.
    pub fn load(&self) -> Replica {
        let live = u32::try_from(self.live()).unwrap_or(u32::MAX);
        self.inner.status.load(live, self.inner.clock.now())
    }

    /// Returns the last attempt that failed.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.inner.status.last_failure(self.inner.clock.now())
    }

    /// Returns the number of calls in the lane, waiting or running.
    pub fn live(&self) -> usize {
        self.inner.permits.taken()
    }

    /// Returns the calls of the lane and their endings.
    pub fn endings(&self) -> EndingCounts {
        self.inner.endings.counts()
    }

    /// Returns the learned values, for [`LaneBuilder::learned`](crate::LaneBuilder::learned) of a later lane. `None`
    /// before there are any.
    pub fn learned(&self) -> Option<Snapshot> {
        self.inner.learned.lock().learned.clone()
    }

    /// Returns the reason why the lane is closed; `None` if it is open.
    pub fn closed(&self) -> Option<Arc<str>> {
        match &*self.inner.entrance.borrow() {
            Entrance::Closed { reason, .. } => Some(Arc::clone(reason)),
            Entrance::Starting | Entrance::Open(_) => None,
        }
    }

    /// Closes the lane, as if the restarts of its actors were used up: waiting and new calls fail with
    /// [`CallError::Closed`]; calls in flight continue without further attempts. Returns `false` if it was closed
    /// already.
    ///
    /// # Errors
    /// Returns an error if the lane's actor has stopped or does not answer within 2 s.
    pub async fn close(&self, reason: &str) -> Result<bool, NoAnswer> {
        let lane = match self.inner.entered().await {
            Some(Entrance::Open(route)) => route.lane,
            Some(Entrance::Closed { lane, .. }) => lane,
            Some(Entrance::Starting) | None => return Err(NoAnswer),
        };
        let closed = lane.ask_control(CloseLane(reason.into()), ASK_TIMEOUT);
        closed.await.map_err(|_| NoAnswer)
    }

    /// Opens a closed lane again, with new actors that keep the learned values and have a full allowance of restarts.
    /// Returns once calls are admitted; the result is `false` if the lane was not closed.
    ///
    /// # Errors
    /// Returns an error if the lane's actor has stopped or does not answer within 2 s.
    pub async fn reopen(&self) -> Result<bool, NoAnswer> {
        let lane = match self.inner.entered().await {
            Some(Entrance::Open(_)) => return Ok(false),
            Some(Entrance::Closed { lane, .. }) => lane,
            Some(Entrance::Starting) | None => return Err(NoAnswer),
        };
        let reopened = lane.ask_control(ReopenLane, ASK_TIMEOUT).await;
        let reopened = reopened.map_err(|_| NoAnswer)?;
        match self.inner.entered().await {
            Some(Entrance::Open(_)) => Ok(reopened),
            _ => Err(NoAnswer),
        }
    }

    /// Admits new calls again after [`LaneHandle::drain`]. Returns `false` if they were admitted already.
    ///
    /// # Errors
    /// Returns an error if the lane is closed, or its actors have stopped or do not answer within 2 s.
    pub async fn resume(&self) -> Result<bool, NoAnswer> {
        let was_draining = self.inner.status.is_draining();
        let Some(Entrance::Open(route)) = self.inner.entered().await else {
            return Err(NoAnswer);
        };
        let resumed = route.pool.ask_control(Resume, ASK_TIMEOUT).await;
        resumed.map_err(|_| NoAnswer)?;
        Ok(was_draining)
    }

    /// Refuses new calls from now on; admitted calls continue.
    pub async fn drain(&self) {
        let Some(Entrance::Open(route)) = self.inner.entered().await else {
            return;
        };
        if let Err(error) = route.pool.ask_control(Close, ASK_TIMEOUT).await {
            tracing::warn!(lane = %self.inner.name, %error, "the pool did not refuse new calls");
        }
    }

    /// Replaces the request that [`LaneHandle::prewarm`] sends from now on.
    pub fn set_wake_request(&self, request: B::Request, options: CallOptions) {
        self.inner.wake_request.set(request, options);
    }

    /// Stops the lane's actors. Calls that are left fail; wait for [`LaneHandle::when_idle`] after a drain first.
    pub async fn stop(&self) {
        match self.inner.entered().await {
            Some(Entrance::Open(route)) => route.lane.stop(),
            Some(Entrance::Closed { lane, .. }) => lane.stop(),
            Some(Entrance::Starting) | None => {}
        }
    }

    /// Waits until no call is left.
    pub async fn when_idle(&self) {
        self.inner.permits.when_none_taken().await;
    }

    /// Gives up all remaining calls; returns how many were waiting or in flight. Calls whose answers are with their
    /// callers can still be finished; those that are dropped count as drained.
    pub async fn cut_off(&self) -> usize {
        self.inner.endings.cut_off();
        let cut = match self.inner.entered().await {
            Some(Entrance::Open(route)) => route.pool.ask_control(CutOff, ASK_TIMEOUT).await.ok(),
            Some(Entrance::Closed { lane, .. }) => lane.ask_control(CutOff, ASK_TIMEOUT).await.ok(),
            Some(Entrance::Starting) | None => None,
        };
        cut.unwrap_or_else(|| self.live())
    }
}

/// The lane's actors have stopped or do not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane does not answer")]
pub struct NoAnswer;

impl<B: Backend> Inner<B> {
    /// Returns the route to the lane's actors, unless they restart or the lane is closed.
    pub(crate) fn open_route(&self) -> Option<Route<B>> {
        match &*self.entrance.borrow() {
            Entrance::Open(route) => Some(route.clone()),
            Entrance::Starting | Entrance::Closed { .. } => None,
        }
    }

    /// Returns the entrance once the lane has started, after at most [`ASK_TIMEOUT`].
    async fn entered(&self) -> Option<Entrance<B>> {
        let mut entrances = self.entrance.clone();
        let started = entrances.wait_for(|entrance| !matches!(entrance, Entrance::Starting));
        let started = tokio::time::timeout(ASK_TIMEOUT, started).await.ok()?;
        started.ok().map(|entrance| entrance.clone())
    }

    /// Begins the attempt of a call in an open slot; gives the call back if it must be offered.
    fn begin(&self, job: Arc<Job<B>>) -> Result<AttemptTask<B>, Arc<Job<B>>> {
        let Some((run, seat)) = self.attempts.slots.begin(&job, self.clock) else {
            return Err(job);
        };
        let made = job.count_attempt();
        tracing::trace!(lane = %self.name, attempt = run.attempt.0, made, "begun without being offered");
        Ok(AttemptTask::new(run, self.attempts.clone(), seat))
    }

    /// Begins a call in an open slot or offers it to the pool, and waits for its answer. If the pool stops before it has taken the call, the call is
    /// offered to the next pool.
    async fn offer(
        &self,
        guard: &mut CallGuard,
        shared: Arc<Shared>,
        request: B::Request,
        options: CallOptions,
        mut withdraw: impl AsyncFnMut() -> Withdrawal,
    ) -> Result<CallSuccess<B::Response>, CallError> {
        let deadline = self.clock.now().after(options.deadline);
        let mut before = None;
        loop {
            let route = self.route(before.as_ref()).await?;
            guard.offered_to(route.pool.control_recipient());
            let (outbox, answer) = oneshot::channel();
            let in_place = options.in_place;
            let (request, options) = (request.clone(), options.clone());
            let job = Job::new(request, options, deadline, outbox, Arc::clone(&shared));
            let job = Arc::new(job);
            // Not kept here: the answer's channel closes when no attempt is left that could answer.
            let weak = Arc::downgrade(&job);
            let answer = pin!(until_withdrawn(answer, &weak, &mut withdraw));
            let answered = match self.begin(job) {
                Ok(task) if in_place => InPlace::new(task).until(answer).await,
                Ok(task) => {
                    task.start();
                    answer.await
                }
                Err(job) => {
                    if route.pool.tell(Enqueue(job)).is_enqueued() {
                        answer.await
                    } else {
                        None
                    }
                }
            };
            if let Some(answered) = answered {
                return answered;
            }
            let attempts = shared.attempts();
            if has_ended(route.lane.report().state) {
                return Err(CallError::Stopped);
            }
            if attempts > 0 || !has_ended(route.pool.report().state) {
                // The pool failed while it handled this call.
                return Err(CallError::Panicked { attempts });
            }
            before = Some(route.pool);
        }
    }

    /// Returns the route to the lane's actors. Waits while they restart and until the pool is another than `before`.
    async fn route(&self, before: Option<&ActorRef<WorkerPool<B>>>) -> Result<Route<B>, CallError> {
        if before.is_none()
            && let Entrance::Open(route) = &*self.entrance.borrow()
        {
            return Ok(route.clone());
        }
        let mut entrances = self.entrance.clone();
        let entered = entrances.wait_for(|entrance| match entrance {
            Entrance::Starting => false,
            Entrance::Open(route) => before.is_none_or(|before| *before != route.pool),
            Entrance::Closed { .. } => true,
        });
        match entered.await.map(|entrance| entrance.clone()) {
            Ok(Entrance::Open(route)) => Ok(route),
            Ok(Entrance::Closed { .. }) => Err(CallError::Closed { attempts: 0 }),
            Ok(Entrance::Starting) | Err(_) => Err(CallError::Stopped),
        }
    }
}

/// Waits for the answer of a call that was offered, or until it is taken back. Returns `None` if no attempt is left that
/// could answer.
async fn until_withdrawn<B: Backend>(
    mut answer: oneshot::Receiver<Result<CallSuccess<B::Response>, CallError>>,
    job: &Weak<Job<B>>,
    withdraw: &mut impl AsyncFnMut() -> Withdrawal,
) -> Option<Result<CallSuccess<B::Response>, CallError>> {
    let mut gap = Duration::ZERO;
    loop {
        let wish = async {
            // A caller that still wishes it would otherwise occupy its thread until the answer comes.
            tokio::time::sleep(gap).await;
            withdraw().await
        };
        tokio::select! {
            biased;
            answered = &mut answer => return answered.ok(),
            withdrawal = wish => {
                if job.upgrade().is_some_and(|job| job.withdraw(withdrawal)) {
                    return Some(Err(CallError::Withdrawn));
                }
                gap = WISH_GAP;
            }
        }
    }
}

/// Returns `true` if an actor in this state will not restart.
fn has_ended(state: ActorState) -> bool {
    matches!(state, ActorState::Stopping | ActorState::Stopped)
}

impl<B: Backend> Clone for LaneHandle<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<B: Backend> fmt::Debug for LaneHandle<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LaneHandle")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}
