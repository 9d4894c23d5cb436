//! The lane's own wake call, made when an operator expects traffic before the first caller arrives.
//!
//! There is one at a time, and none while callers wait, because the first of them is the wake call then. It takes a
//! permit and a place in the queue like any call, so it respects the lane's bounds. Its ending is counted once, in
//! separate counters, because no caller waits for it. It does not delay the end of the lane.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use actix::{Handler, Message, MessageResponse};
use kebne_control::Refusal;
use tokio::sync::oneshot;

use kebne_actors::Context;

use super::WorkerPool;
use crate::{
    backend::Backend,
    call::{CallError, CallOptions, Ending},
    guard::CallGuard,
    job::{CallSuccess, Job, Shared},
};

/// Sends the wake call, if one is set and none is in flight.
#[derive(Debug, Message)]
#[rtype(result = "WakeAnswer")]
pub(crate) struct SendWake;

/// The result of [`SendWake`].
#[derive(Debug, MessageResponse)]
pub(crate) enum WakeAnswer {
    /// It waits in the queue or is in flight.
    Sent,
    /// Another call already wakes the backend.
    Joined,
    /// The lane has no wake call to send.
    Unset,
    /// The pool refused it.
    Refused(Refusal),
}

/// The wake request and its options.
type Wake<B> = Arc<(<B as Backend>::Request, CallOptions)>;

/// The request that wakes the backend before the first caller arrives, if there is one; clones share it.
pub(crate) struct WakeRequest<B: Backend>(Arc<Mutex<Option<Wake<B>>>>);

impl<B: Backend> WakeRequest<B> {
    pub(crate) fn new(wake: Option<(B::Request, CallOptions)>) -> Self {
        Self(Arc::new(Mutex::new(wake.map(Arc::new))))
    }

    fn get(&self) -> Option<Wake<B>> {
        let wake = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wake.clone()
    }

    /// Replaces the request for the wake calls from now on.
    pub(crate) fn set(&self, request: B::Request, options: CallOptions) {
        let mut wake = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *wake = Some(Arc::new((request, options)));
    }
}

impl<B: Backend> Clone for WakeRequest<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Backend> fmt::Debug for WakeRequest<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WakeRequest")
    }
}

/// The wake call that was sent last, until it has ended.
#[derive(Debug, Default)]
pub(crate) struct LastWake(Weak<Shared>);

impl<B: Backend> Handler<SendWake> for WorkerPool<B> {
    type Result = WakeAnswer;

    fn handle(&mut self, _: SendWake, ctx: &mut Context<Self>) -> WakeAnswer {
        let Some(wake) = self.parts.wake_request.get() else {
            return WakeAnswer::Unset;
        };
        self.collect();
        if self.is_asked() {
            return WakeAnswer::Joined;
        }
        let Some(permit) = self.parts.permits.take() else {
            // All permits are taken.
            return WakeAnswer::Joined;
        };
        let (request, options) = (*wake).clone();
        let deadline = self.parts.clock.now().after(options.deadline);
        let (outbox, answer) = oneshot::channel();
        let shared = Arc::new(Shared::new(permit));
        let endings = Arc::clone(&self.parts.prewarms);
        endings.call();
        let cancel = ctx.self_ref().control_recipient();
        let guard = CallGuard::new(Arc::clone(&shared), endings, Some(cancel));
        self.parts.kept.lock().last_wake = LastWake(Arc::downgrade(&shared));
        let job = Arc::new(Job::new(request, options, deadline, outbox, shared));
        let offered = self.offer(&job);
        actix_rt::spawn(count(Arc::clone(&self.parts.lane), answer, guard));
        self.step(ctx);
        match offered {
            Ok(()) => WakeAnswer::Sent,
            Err(refusal) => WakeAnswer::Refused(refusal),
        }
    }
}

impl<B: Backend> WorkerPool<B> {
    /// Returns `true` if any call, a caller's or the lane's own, waits or is in flight.
    fn is_asked(&self) -> bool {
        let kept = self.parts.kept.lock();
        kept.pool.queued() > 0 || kept.pool.in_flight() > 0 || kept.last_wake.0.strong_count() > 0
    }

    /// Gives the wake call up because the lane closes, unless callers wait for its result.
    pub(super) fn end_wake(&self) {
        let wake = {
            let kept = self.parts.kept.lock();
            kept.last_wake.0.upgrade().filter(|wake| {
                let waits = wake.number().is_some_and(|call| kept.pool.is_waiting(call));
                kept.pool.queued() == usize::from(waits)
            })
        };
        if let Some(wake) = wake {
            wake.condemn(Ending::Drained);
            wake.cancelled.cancel();
        }
    }
}

/// Counts and logs the ending of the wake call.
async fn count<R>(
    lane: Arc<str>,
    answer: oneshot::Receiver<Result<CallSuccess<R>, CallError>>,
    guard: CallGuard,
) {
    let answer = tokio::select! {
        answer = answer => answer,
        // Dropping the guard counts the ending and removes the call from the queue.
        () = guard.cancelled() => return,
    };
    let error = match answer {
        Ok(Ok(_)) => {
            tracing::info!(%lane, "the backend is warm");
            guard.finish(Ending::Success);
            return;
        }
        Ok(Err(error)) => error,
        Err(_) => CallError::Stopped,
    };
    tracing::warn!(%lane, %error, "the backend was not warmed up");
    guard.finish(error.ending());
}
