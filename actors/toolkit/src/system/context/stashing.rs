//! The stash: messages put aside for later.

use actix::{Actor, Handler, Message};

use super::Context;
use crate::system::{catch::drop_guarded, messages::Tell};

impl<A> Context<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Puts a message aside until [`Context::unstash_all`].
    ///
    /// At a restart the stashed messages return to the front of the mailbox, and at a stop they become dead
    /// letters. An ask is answered by the handler that stashes its message.
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
