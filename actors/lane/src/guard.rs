//! A call's answer, and the guard that counts the call's one ending.

use std::{fmt, sync::Arc, time::Duration};

use actix::Message;
use kebne_actors::Recipient;
use kebne_control::CallId;

use crate::{call::Ending, endings::Endings, job::Shared};

/// Emitted when the caller of a call is gone. A call that still waits is taken out of the queue.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CallAbandoned(pub(crate) CallId);

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
    /// Where the event goes when the caller leaves; `None` before the call was offered.
    abandoned: Option<Recipient<CallAbandoned>>,
}

impl<T> Reply<T> {
    /// Counts the call as a success and returns the answer: for answers that come whole.
    pub fn complete(self) -> T {
        self.guard.finish(Ending::Success);
        self.response
    }
}

impl CallGuard {
    /// Guards a call that was just made. `abandoned` receives an event when its caller leaves.
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

    /// Sets where the event goes when the caller leaves.
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
        if let (Some(call), Some(abandoned)) = (live.shared.number(), live.abandoned) {
            // When the pool is gone, so is the call.
            let _harmless_if_lost = abandoned.tell(CallAbandoned(call));
        }
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
