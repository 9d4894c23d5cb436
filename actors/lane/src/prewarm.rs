//! Waking a backend before any caller asks.

use std::time::Duration;

use kebne_control::{Refusal, RefusalReason};

use crate::{
    backend::Backend,
    handle::{ASK_TIMEOUT, LaneHandle},
    rate_controller::ExpectTraffic,
    worker_pool::{SendWake, WakeAnswer},
};

/// The result of [`LaneHandle::prewarm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prewarm {
    /// A wake call is on its way, or waits for the time at which the backend may be asked next.
    Sent,
    /// Another call wakes the backend already; nothing more is sent.
    Joined,
    /// The backend serves; nothing is sent.
    Awake,
}

/// Why no wake call was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrewarmError {
    /// The lane was built without a wake request.
    #[error("the lane has no wake call")]
    Unset,
    /// The lane did not admit it.
    #[error("the wake call was refused: {reason:?}")]
    Refused {
        /// The true reason.
        reason: RefusalReason,
        /// When a new try is expected to be let in.
        retry_after: Option<Duration>,
    },
    /// The lane is closed.
    #[error("the lane is closed")]
    Closed,
    /// The lane's actors do not answer.
    #[error("the lane does not answer")]
    NoAnswer,
}

impl<B: Backend> LaneHandle<B> {
    /// Wakes the backend before any caller asks, with the lane's wake request.
    ///
    /// Any number of these make one wake call: while one is on its way, or callers wait for the backend, nothing
    /// more is sent. It returns when that is decided, not when the backend is warm. How the wake call ends is
    /// counted in [`crate::LaneSnapshot::prewarms`], not among the callers' calls. It may take the time that
    /// its own deadline gives it.
    ///
    /// # Errors
    /// See [`PrewarmError`].
    pub async fn prewarm(&self) -> Result<Prewarm, PrewarmError> {
        if self.closed().is_some() {
            return Err(PrewarmError::Closed);
        }
        let route = self.inner.open_route().ok_or(PrewarmError::NoAnswer)?;
        let asked = route.controller.ask_control(ExpectTraffic, ASK_TIMEOUT);
        let law = asked.await.map_err(|_| PrewarmError::NoAnswer)?;
        if !law.wanted {
            return Ok(if law.serves {
                Prewarm::Awake
            } else {
                Prewarm::Joined
            });
        }
        let sent = route.pool.ask_control(SendWake, ASK_TIMEOUT).await;
        match sent.map_err(|_| PrewarmError::NoAnswer)? {
            WakeAnswer::Sent => Ok(Prewarm::Sent),
            WakeAnswer::Joined => Ok(Prewarm::Joined),
            WakeAnswer::Unset => Err(PrewarmError::Unset),
            WakeAnswer::Refused(Refusal {
                reason,
                retry_after,
                ..
            }) => Err(PrewarmError::Refused {
                reason,
                retry_after,
            }),
        }
    }
}
