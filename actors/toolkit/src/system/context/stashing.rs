//! The stash: messages put aside for later.

use std::sync::Arc;

use actix::{Actor, Handler, Message};
use tokio::sync::oneshot;

use super::Context;
use crate::system::{
    ask::AskState,
    catch::drop_guarded,
    messages::{Ask, Tell},
};

impl<A> Context<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Puts a message aside until [`Context::unstash_all`].
    ///
    /// At a restart the stashed messages return to the front of the mailbox, and at a stop they become dead
    /// letters. An ask is answered by the handler that stashes its message; see [`Context::stash_asked`].
    ///
    /// # Errors
    /// Returns the message if the stash is full.
    pub fn stash<M>(&mut self, message: M) -> Result<(), M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        if self.stash.len() >= self.stash_max {
            return Err(message);
        }
        self.stash.push_back(Box::new(Tell(message)));
        Ok(())
    }

    /// As [`Context::stash`], of a message with the place of its answer: an ask is answered when the message is handled
    /// again. For a `MessageResponse` of your own, which is given the place.
    ///
    /// # Errors
    /// Returns the message if the stash is full; the ask has failed then.
    pub fn stash_asked<M>(
        &mut self,
        message: M,
        answer: Option<oneshot::Sender<M::Result>>,
    ) -> Result<(), M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let Some(answer) = answer else {
            return self.stash(message);
        };
        if self.is_stash_full() {
            return Err(message);
        }
        let state = match &self.asker {
            Some(state) => Arc::clone(state),
            // It came through an `actix::Addr`.
            None => Arc::new(AskState::new(Arc::clone(&self.core.asks_in_work))),
        };
        state.put_aside();
        self.stash.push_back(Box::new(Ask {
            message,
            answer,
            state,
        }));
        Ok(())
    }

    /// Puts the stashed messages before all others that wait, in their order.
    ///
    /// The mailbox's bound does not apply to them, for they were accepted before; while it is exceeded other
    /// messages are refused. Each is handled by itself: one that is stashed again is not handled again in this
    /// pass, and if one fails the others remain.
    pub fn unstash_all(&mut self) {
        self.core.mailbox.put_back(std::mem::take(&mut self.stash));
    }

    /// Puts the first `messages` of the stash before all others that wait, in their order.
    pub fn unstash(&mut self, messages: usize) {
        let rest = self.stash.split_off(messages.min(self.stash.len()));
        let first = std::mem::replace(&mut self.stash, rest);
        self.core.mailbox.put_back(first);
    }

    /// Returns how many messages are stashed.
    pub fn stash_len(&self) -> usize {
        self.stash.len()
    }

    /// Returns `true` if the stash is full.
    pub fn is_stash_full(&self) -> bool {
        self.stash.len() >= self.stash_max
    }

    /// Drops all stashed messages. They do not become dead letters.
    pub fn clear_stash(&mut self) {
        drop_guarded(&self.core.path, std::mem::take(&mut self.stash));
    }
}
