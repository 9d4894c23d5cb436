//! A call's answer, and the guard that counts the call's one ending.

use std::{fmt, sync::Arc, time::Duration};

use actix::Message;
use kebne_actors::Recipient;
use kebne_control::CallId;

use crate::{
    call::Ending,
    endings::Endings,
    job::{CallSuccess, Shared},
};

/// Emitted when the caller of a call has left. A call that still waits is removed from the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CallAbandoned(pub(crate) CallId);

/// An admitted call's answer.
///
/// A reply that is dropped counts as cancelled. Take a whole answer with [`Reply::complete`], which counts the call as
/// a success, and a streamed one with [`Reply::into_parts`], whose guard must be kept until the end.
#[must_use = "a reply that is dropped counts as cancelled"]
pub struct Reply<T> {
    response: T,
    guard: CallGuard,
    attempts: u32,
    waited: Duration,
}

/// Counts the ending of a call. If it is dropped without [`CallGuard::finish`], the call counts as cancelled, or as
/// drained once the lane was cut off, and its work at the backend is cancelled.
#[must_use = "a guard that is dropped counts its call as cancelled"]
pub struct CallGuard {
    live: Option<Live>,
}

struct Live {
    shared: Arc<Shared>,
    endings: Arc<Endings>,
    /// The recipient of the event when the caller leaves; `None` until the call is offered.
    abandoned: Option<Recipient<CallAbandoned>>,
}

impl<T> Reply<T> {
    pub(crate) fn new(success: CallSuccess<T>, guard: CallGuard) -> Self {
        Self {
            response: success.response,
            guard,
            attempts: success.attempts,
            waited: success.waited,
        }
    }

    /// Counts the call as a success and returns the answer. For whole answers.
    pub fn complete(self) -> T {
        self.guard.finish(Ending::Success);
        self.response
    }

    /// Returns the answer and the guard, for answers whose delivery takes time. Keep the guard until the answer has
    /// been delivered, and then call [`CallGuard::finish`].
    #[must_use = "the call counts as cancelled when the guard is dropped"]
    pub fn into_parts(self) -> (T, CallGuard) {
        (self.response, self.guard)
    }

    /// Returns the answer.
    pub fn response(&self) -> &T {
        &self.response
    }

    /// Returns the attempts made, the successful one included; refusals by the backend do not count.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the time that the call waited before the successful attempt was dispatched.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl CallGuard {
    /// Creates the guard of a new call.
    pub(crate) fn new(
        shared: Arc<Shared>,
        endings: Arc<Endings>,
        abandoned: Option<Recipient<CallAbandoned>>,
    ) -> Self {
        Self {
            live: Some(Live {
                shared,
                endings,
                abandoned,
            }),
        }
    }

    /// Sets the recipient of the event when the caller leaves.
    pub(crate) fn offered_to(&mut self, abandoned: Recipient<CallAbandoned>) {
        if let Some(live) = &mut self.live {
            live.abandoned = Some(abandoned);
        }
    }

    /// Waits until the lane gives the call up.
    pub(crate) async fn cancelled(&self) {
        match &self.live {
            Some(live) => live.shared.cancelled.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Returns the ending with which the lane itself ended the call after its answer had begun, if it did.
    pub fn verdict(&self) -> Option<Ending> {
        self.live.as_ref()?.shared.verdict()
    }

    /// Reports the ending of the call and releases its permit. Only the first report counts. If the lane has ended the
    /// call meanwhile (timeout, panic, drain), the lane's reason is counted instead. Returns the ending that is counted.
    pub fn finish(mut self, ending: Ending) -> Ending {
        let Some(live) = self.live.take() else {
            return ending;
        };
        if ending == Ending::Success {
            live.endings.end(ending);
            live.shared.served();
            return ending;
        }
        let counted = live.shared.verdict().unwrap_or(ending);
        live.endings.end(counted);
        live.shared.cancelled.cancel();
        counted
    }

    /// Ends a call that was taken back while it waited, and removes it from the queue.
    pub(crate) fn withdraw(mut self) {
        if let Some(live) = &self.live {
            live.shared.condemn(Ending::Withdrawn);
        }
        let _counted = self.left();
    }

    /// Ends the call as dropping the guard does. Returns the ending that is counted.
    pub fn leave(mut self) -> Ending {
        self.left().unwrap_or(Ending::Cancelled)
    }

    fn left(&mut self) -> Option<Ending> {
        let live = self.live.take()?;
        let verdict = live.shared.verdict();
        let ending = verdict.unwrap_or_else(|| live.endings.of_dropped());
        live.endings.end(ending);
        live.shared.cancelled.cancel();
        if let (Some(call), Some(abandoned)) = (live.shared.number(), live.abandoned) {
            // If the pool is gone, so is the call.
            let _harmless_if_lost = abandoned.tell(CallAbandoned(call));
        }
        Some(ending)
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let _counted = self.left();
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
