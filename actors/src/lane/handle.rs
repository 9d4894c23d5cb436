//! The caller's end of a lane: a cheap handle, a reply, and the guard that counts its one ending.

use std::{fmt, sync::Arc, time::Duration};

use kebne_control::{LaneState, RefusalReason, Snapshot};
use tokio::sync::{oneshot, watch};

use crate::{
    clock::Clock,
    lane::{
        actor::Route,
        backend::Backend,
        call::{CallError, CallOptions, Ending},
        endings::{EndingCounts, Endings},
        job::{Job, Shared},
        kept::{Kept, KeptController},
        permits::Permits,
        snapshot::LaneSnapshot,
        status::Status,
    },
    rate_controller::GetController,
    system::Recipient,
    worker_pool::{Cancel, Close, CutOff, Enqueue, GetPool, SpendRetry},
};

/// Time that the lane's actors have to answer a question about themselves.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time beyond the deadline after which a caller stops waiting for the lane's own verdict: only a thread
/// that a backend blocks takes that long.
const VERDICT_GRACE: Duration = Duration::from_secs(1);

/// A handle to one lane; clones share it.
pub struct LaneHandle<B: Backend> {
    pub(super) inner: Arc<Inner<B>>,
}

pub(super) struct Inner<B: Backend> {
    pub(super) name: Arc<str>,
    pub(super) clock: Clock,
    pub(super) permits: Permits,
    pub(super) endings: Arc<Endings>,
    pub(super) prewarms: Arc<Endings>,
    pub(super) status: Arc<Status>,
    pub(super) learned: Kept<KeptController>,
    pub(super) route: watch::Receiver<Option<Route<B>>>,
}

/// An admitted call's answer.
pub struct Reply<T> {
    /// What the backend answered.
    pub response: T,
    /// Must live as long as the answer is being delivered.
    pub guard: CallGuard,
    /// Attempts made, this one included; refusals by the backend do not count.
    pub attempts: u32,
    /// Time spent waiting before the successful attempt was dispatched.
    pub waited: Duration,
}

/// Rides with the answer's body. Dropped without [`CallGuard::finish`], the call counts as cancelled and the
/// upstream work is cancelled.
pub struct CallGuard {
    live: Option<Live>,
}

struct Live {
    shared: Arc<Shared>,
    endings: Arc<Endings>,
    /// Who is to forget the call when it still waits; none before it was offered.
    cancel: Option<Recipient<Cancel>>,
}

impl<T> Reply<T> {
    /// Counts the call as a success and returns the answer: for answers that come whole.
    pub fn complete(self) -> T {
        self.guard.finish(Ending::Success);
        self.response
    }
}

impl CallGuard {
    /// Guards a call that was just made; `cancel`: who is to forget it when it still waits.
    pub(crate) fn new(
        shared: Arc<Shared>,
        endings: Arc<Endings>,
        cancel: Option<Recipient<Cancel>>,
    ) -> Self {
        Self {
            live: Some(Live {
                shared,
                endings,
                cancel,
            }),
        }
    }

    /// Waits until the lane gives the call up.
    pub(crate) async fn cancelled(&self) {
        match &self.live {
            Some(live) => live.shared.cancelled.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Reports how the call ended and gives its place back. Only the first report of a call counts; when the
    /// lane itself ended the call meanwhile (a timeout, a panic, a drain), its reason is what is counted.
    pub fn finish(mut self, ending: Ending) {
        let Some(live) = self.live.take() else {
            return;
        };
        if ending == Ending::Success {
            live.endings.end(ending);
            return;
        }
        live.endings.end(live.shared.verdict().unwrap_or(ending));
        live.shared.cancelled.cancel();
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else {
            return;
        };
        let ending = live.shared.verdict().unwrap_or(Ending::Cancelled);
        live.endings.end(ending);
        live.shared.cancelled.cancel();
        if let (Some(call), Some(cancel)) = (live.shared.number(), live.cancel) {
            // When the pool is gone, so is the call.
            let _harmless_if_lost = cancel.tell(Cancel(call));
        }
    }
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
            if let Some(live) = &mut guard.live {
                live.cancel = Some(route.pool.control_recipient());
            }
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

impl<T: fmt::Debug> fmt::Debug for Reply<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reply")
            .field("response", &self.response)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CallGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CallGuard")
            .field("live", &self.live.is_some())
            .finish()
    }
}
