//! Wakes a backend before the first caller arrives.

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
    /// A wake call was sent, or waits for the time of the next probe.
    Sent,
    /// Another call already wakes the backend; nothing was sent.
    Joined,
    /// The backend serves; nothing was sent.
    Awake,
}

/// The reason why no wake call was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrewarmError {
    /// The lane was built without a wake request.
    #[error("the lane has no wake call")]
    Unset,
    /// The lane did not admit it.
    #[error("the wake call was refused: {reason:?}")]
    Refused {
        /// The reason.
        reason: RefusalReason,
        /// The time after which a new call is expected to be admitted.
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
    /// Wakes the backend with the lane's wake request, before the first caller arrives.
    ///
    /// Only one wake call is made at a time, and none while callers wait for the backend. The method returns once this
    /// is decided, not when the backend is ready. The ending of the wake call is counted in
    /// [`crate::LaneSnapshot::prewarms`], not among the callers' calls. The wake call has the deadline of its own
    /// options.
    ///
    /// # Errors
    /// See [`PrewarmError`].
    pub async fn prewarm(&self) -> Result<Prewarm, PrewarmError> {
        self.wake(false).await
    }

    /// Makes the wake call as [`LaneHandle::prewarm`] does, and at once: for a backend that something else, such as a health
    /// check, has shown to be there. The pause before the next probe ends.
    ///
    /// # Errors
    /// See [`PrewarmError`].
    pub async fn prewarm_at_once(&self) -> Result<Prewarm, PrewarmError> {
        self.wake(true).await
    }

    async fn wake(&self, is_there: bool) -> Result<Prewarm, PrewarmError> {
        if self.closed().is_some() {
            return Err(PrewarmError::Closed);
        }
        let route = self.inner.open_route().ok_or(PrewarmError::NoAnswer)?;
        let asked = route
            .controller
            .ask_control(ExpectTraffic { is_there }, ASK_TIMEOUT);
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
