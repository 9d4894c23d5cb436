//! Futures whose results are handled as messages.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use actix::{Actor, Handler, Message};
use futures_util::FutureExt;

use super::Context;
use crate::system::{catch::text, core::Signal, messages::Tell, place};

/// A piped future panicked, with this message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a piped future panicked: {0}")]
pub struct TaskPanicked(pub String);

impl<A> Context<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Runs a future in a task of its own, and adds its result to the end of the mailbox as a message, which is
    /// never refused.
    ///
    /// A panic in the future or in `map` is a failure of this actor, [`Fault::Task`], unless the actor has been
    /// restarted meanwhile. The task outlives the actor; its result is a dead letter then.
    ///
    /// [`Fault::Task`]: crate::system::Fault::Task
    pub fn pipe_to_self<F, M>(&mut self, future: F, map: impl FnOnce(F::Output) -> M + 'static)
    where
        F: Future + 'static,
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let core = self.self_ref().core;
        let restarts = core.restarts.load(SeqCst);
        let path = Arc::clone(&core.path);
        place::spawn(|| format!("{path} pipe"), async move {
            let piped = AssertUnwindSafe(async move { map(future.await) });
            match piped.catch_unwind().await {
                Ok(message) => {
                    let offered = core.mailbox.offer_essential(Box::new(Tell(message)));
                    // Refused only when the actor has stopped, which is noted as a dead letter.
                    core.settle(offered).ok();
                }
                Err(panic) => {
                    let message = text(&*panic);
                    core.signal(Signal::TaskPanicked { restarts, message });
                }
            }
        });
    }

    /// As [`Context::pipe_to_self`], but passes a panic of the future to `map` as a value.
    pub fn try_pipe_to_self<F, M>(
        &mut self,
        future: F,
        map: impl FnOnce(Result<F::Output, TaskPanicked>) -> M + 'static,
    ) where
        F: Future + 'static,
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let caught = AssertUnwindSafe(future).catch_unwind();
        let result = caught.map(|caught| caught.map_err(|panic| TaskPanicked(text(&*panic))));
        self.pipe_to_self(result, map);
    }
}
