//! The lane's own wake call: made when an operator expects traffic and nobody has called yet.
//!
//! One at a time, and none while callers wait: the first of them is the wake call then. It takes a permit and a
//! place in the queue like any call, so it cannot get past the lane's bounds. Its ending is counted once, in
//! books of its own, because no caller of the service waits for it. It must never hold back the end of the lane.

use std::sync::{Arc, Weak};

use actix::{Handler, Message, MessageResponse};
use kebne_control::Refusal;
use tokio::sync::oneshot;

use kebne_actors::Context;

use super::WorkerPool;
use crate::{
    backend::Backend,
    call::{CallError, Ending},
    guard::CallGuard,
    job::{Delivery, Job, Shared},
};

/// Sends the wake call, if one is set and none is on its way.
#[derive(Debug, Message)]
#[rtype(result = "WakeAnswer")]
pub(crate) struct SendWake;

/// What became of [`SendWake`].
#[derive(Debug, MessageResponse)]
pub(crate) enum WakeAnswer {
    /// It waits for its turn, or is on its way.
    Sent,
    /// Another call wakes the backend already.
    Joined,
    /// The lane has no wake call to send.
    Unset,
    /// The pool did not let it in.
    Refused(Refusal),
}

/// The wake call that was sent last, while it lives.
#[derive(Debug, Default)]
pub(crate) struct LastWake(Weak<Shared>);

impl<B: Backend> Handler<SendWake> for WorkerPool<B> {
    type Result = WakeAnswer;

    fn handle(&mut self, _: SendWake, ctx: &mut Context<Self>) -> WakeAnswer {
        let Some(wake) = self.parts.wake_request.clone() else {
            return WakeAnswer::Unset;
        };
        if self.is_asked() {
            return WakeAnswer::Joined;
        }
        let Some(permit) = self.parts.permits.take() else {
            // As many calls live as may.
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
        self.turn(ctx);
        match offered {
            Ok(()) => WakeAnswer::Sent,
            Err(refusal) => WakeAnswer::Refused(refusal),
        }
    }
}

impl<B: Backend> WorkerPool<B> {
    /// Says whether some call, a caller's or the lane's own, is on its way to the backend or waits for that.
    fn is_asked(&self) -> bool {
        let kept = self.parts.kept.lock();
        kept.pool.queued() > 0 || kept.pool.in_flight() > 0 || kept.last_wake.0.strong_count() > 0
    }

    /// Gives the wake call up because the lane closes, unless callers wait for what it finds out.
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

/// Counts how the wake call ends, and says so in the log.
async fn count<R>(
    lane: Arc<str>,
    answer: oneshot::Receiver<Result<Delivery<R>, CallError>>,
    guard: CallGuard,
) {
    let answer = tokio::select! {
        answer = answer => answer,
        // Dropping the guard counts why the lane gave it up, and takes it out of the queue.
        () = guard.cancelled() => return,
    };
    let error = match answer {
        Ok(Ok(_)) => {
            tracing::info!(%lane, "the backend is warm");
            return guard.finish(Ending::Success);
        }
        Ok(Err(error)) => error,
        Err(_) => CallError::Stopped,
    };
    tracing::warn!(%lane, %error, "the backend was not warmed up");
    guard.finish(error.ending());
}
