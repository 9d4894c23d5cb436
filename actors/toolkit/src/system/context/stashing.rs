//! Messages put aside for later.

use actix::{Actor, Handler, Message};

use super::Context;
use crate::system::{catch::drop_guarded, messages::Tell};

impl<A> Context<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Puts a message aside until [`Context::unstash_all`].
    ///
    /// At a restart what is stashed goes back to the front of the mailbox, and at a stop it becomes dead
    /// letters. A message that answers by its result is answered by the handler that stashes it.
    ///
    /// # Errors
    /// Gives the message back when the stash is full.
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
    /// They are accepted messages, so that the mailbox's bound does not hold for them; while it is exceeded
    /// others are refused. Each is handled in a turn of its own: one that is stashed again is not seen in
    /// this pass, and one that fails is gone while the rest remains.
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

    /// Says whether no more messages can be stashed.
    pub fn is_stash_full(&self) -> bool {
        self.stash.len() >= self.stash_max
    }

    /// Drops all stashed messages; they are no dead letters.
    pub fn clear_stash(&mut self) {
        drop_guarded(&self.core.path, std::mem::take(&mut self.stash));
    }
}
