//! The caller's end of a lane: a handle that is cheap to clone.

use std::{fmt, sync::Arc, time::Duration};

use kebne_control::{LaneState, RefusalReason, Snapshot};
use tokio::sync::{oneshot, watch};

use kebne_actors::work_pulling::permits::Permits;

use crate::{
    backend::Backend,
    call::{CallError, CallOptions, Ending},
    clock::Clock,
    endings::{EndingCounts, Endings},
    guard::{CallGuard, Reply},
    job::{Job, Shared},
    kept::Kept,
    lane::Route,
    rate_controller::{ControllerMemory, GetController},
    snapshot::LaneSnapshot,
    status::{LastFailure, Status},
    worker_pool::{Close, CutOff, Enqueue, GetPool, SpendRetry},
};

/// Time that the lane's actors have to answer a question about themselves.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time beyond the deadline after which a caller stops waiting for the lane's own verdict: only a thread
/// that a backend blocks takes that long.
const VERDICT_GRACE: Duration = Duration::from_secs(1);

/// A handle to one lane; clones share it.
pub struct LaneHandle<B: Backend> {
    pub(crate) inner: Arc<Inner<B>>,
}

pub(crate) struct Inner<B: Backend> {
    pub(crate) name: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) permits: Permits,
    pub(crate) endings: Arc<Endings>,
    pub(crate) prewarms: Arc<Endings>,
    pub(crate) status: Arc<Status>,
    pub(crate) learned: Kept<ControllerMemory>,
    pub(crate) route: watch::Receiver<Option<Route<B>>>,
}

impl<B: Backend> LaneHandle<B> {
    /// Makes a call: waits for its turn, attempts, retries, and answers or says why not.
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(
        &self,
        request: B::Request,
        options: CallOptions,
    ) -> Result<Reply<B::Response>, CallError> {
        let inner = &*self.inner;
        inner.endings.call();
        let Some(permit) = inner.permits.take() else {
            inner.endings.end(Ending::Shed);
            return Err(CallError::Refused {
                reason: RefusalReason::QueueFull,
                retry_after: None,
                ready_in: None,
            });
        };
        let shared = Arc::new(Shared::new(permit));
        // From here on the guard counts the ending, whatever becomes of this future.
        let mut guard = CallGuard::new(Arc::clone(&shared), Arc::clone(&inner.endings), None);
        let patience = options.deadline.saturating_add(VERDICT_GRACE);
        let offer = async {
            let deadline = inner.clock.now().after(options.deadline);
            let Some(route) = inner.route().await else {
                return Ok(Err(CallError::Stopped));
            };
            guard.offered_to(route.pool.control_recipient());
            let (outbox, answer) = oneshot::channel();
            let job = Arc::new(Job::new(request, options, deadline, outbox, shared));
            if route.pool.tell(Enqueue(job)).is_enqueued() {
                answer.await
            } else {
                Ok(Err(CallError::Stopped))
            }
        };
        let answered = tokio::time::timeout(patience, offer).await;
        let error = match answered {
            Ok(Ok(Ok(delivery))) => {
                return Ok(Reply {
                    response: delivery.response,
                    guard,
                    attempts: delivery.attempts,
                    waited: delivery.waited,
                });
            }
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => CallError::Stopped,
            Err(_) => CallError::Timeout {
                what: "total",
                attempts: 0,
            },
        };
        guard.finish(error.ending());
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

    /// Returns the last attempt that failed.
    pub fn last_failure(&self) -> Option<LastFailure> {
        self.inner.status.last_failure(self.inner.clock.now())
    }

    /// Returns how many calls the lane holds, waiting or running.
    pub fn live(&self) -> usize {
        self.inner.permits.taken()
    }

    /// Returns how many calls reached the lane and how they ended.
    pub fn endings(&self) -> EndingCounts {
        self.inner.endings.counts()
    }

    /// Returns what the lane has learned, to be given to its next life.
    pub fn learned(&self) -> Option<Snapshot> {
        self.inner.learned.lock().learned.clone()
    }

    /// Returns the lane as an operator sees it; `None` when its actors do not answer.
    pub async fn snapshot(&self) -> Option<LaneSnapshot> {
        let route = self.inner.route.borrow().clone()?;
        let (controller, pool) = tokio::join!(
            route.controller.ask_control(GetController, ASK_TIMEOUT),
            route.pool.ask_control(GetPool, ASK_TIMEOUT),
        );
        let (controller, pool) = (controller.ok()?, pool.ok()?);
        Some(LaneSnapshot {
            name: Arc::clone(&self.inner.name),
            state: self.state(),
            state_changes: controller.states,
            controller: controller.report,
            verdicts: controller
                .verdicts
                .iter()
                .map(ToString::to_string)
                .collect(),
            pool: pool.report,
            workers: pool.workers,
            workers_idle: pool.workers_idle,
            worker_restarts: self.inner.status.restarts(),
            last_failure: self.last_failure(),
            failures: self.inner.status.failure_counts(),
            live: self.live(),
            endings: self.endings(),
            prewarms: self.inner.prewarms.counts(),
        })
    }

    /// Spends one retry of this lane's budget on an attempt at another lane; says whether it had one.
    pub async fn spend_retry(&self) -> bool {
        let route = self.inner.route.borrow().clone();
        match route {
            Some(route) => {
                let spent = route.pool.ask_control(SpendRetry, ASK_TIMEOUT).await;
                spent.unwrap_or(false)
            }
            None => true,
        }
    }

    /// Refuses new calls from now on; what was admitted goes on.
    pub async fn close(&self) {
        let route = self.inner.route.borrow().clone();
        if let Some(route) = route
            && let Err(error) = route.pool.ask_control(Close, ASK_TIMEOUT).await
        {
            tracing::warn!(lane = %self.inner.name, %error, "the pool did not close");
        }
    }

    /// Waits until no call is left.
    pub async fn when_idle(&self) {
        self.inner.permits.when_none_taken().await;
    }

    /// Gives up every call that is left; returns how many were cut off.
    pub async fn cut_off(&self) -> usize {
        let route = self.inner.route.borrow().clone();
        match route {
            Some(route) => {
                let cut = route.pool.ask_control(CutOff, ASK_TIMEOUT).await;
                cut.unwrap_or_else(|_| self.live())
            }
            None => self.live(),
        }
    }
}

impl<B: Backend> Inner<B> {
    /// Returns the way to the pool, waiting while the lane restarts; `None` when it has stopped for good.
    async fn route(&self) -> Option<Route<B>> {
        if let Some(route) = &*self.route.borrow() {
            return Some(route.clone());
        }
        let mut routes = self.route.clone();
        let route = routes.wait_for(Option::is_some).await.ok()?;
        route.clone()
    }
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
