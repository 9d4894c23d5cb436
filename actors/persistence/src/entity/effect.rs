//! What a command leads to: events, then an answer.

use std::fmt;

use actix::Message;
use kebne_actors::Context;

use super::{Entity, EventSourced};

/// Something to do with the new state.
pub(crate) type Then<S> = Box<dyn FnOnce(&S, &mut Context<Entity<S>>)>;

/// The effect of a command, without its answer. [`EventSourced::persist`] makes it, and [`Effect::then_reply`] completes it: a command without an answer does not
/// compile, as with Pekko's `withEnforcedReplies`.
pub struct Effect<S: EventSourced> {
    pub(crate) events: Vec<S::Event>,
    pub(crate) then: Vec<Then<S>>,
    pub(crate) unstash: bool,
    pub(crate) stop: bool,
}

/// The effect of a command of type `M`, with its answer.
pub struct ReplyEffect<S: EventSourced, M: Message>(pub(crate) Kind<S, M>);

/// Makes the answer from the new state.
pub(crate) type MakeAnswer<S, M> = Box<dyn FnOnce(&S) -> <M as Message>::Result>;

pub(crate) enum Kind<S: EventSourced, M: Message> {
    Act(Effect<S>, MakeAnswer<S, M>),
    Stash(M),
}

impl<S: EventSourced> Effect<S> {
    pub(crate) fn new(events: Vec<S::Event>) -> Self {
        Self {
            events,
            then: Vec::new(),
            unstash: false,
            stop: false,
        }
    }

    /// Persists nothing and answers.
    pub fn reply<M>(answer: M::Result) -> ReplyEffect<S, M>
    where
        M: Message,
        M::Result: 'static,
    {
        Self::new(Vec::new()).then_reply(move |_| answer)
    }

    /// Puts the command aside until an effect [unstashes](Effect::then_unstash_all) it. An ask is answered then.
    ///
    /// A full stash, see `Props::stash`, is a failure: [`PersistenceError::StashFull`](crate::PersistenceError::StashFull).
    pub fn stash<M: Message>(command: M) -> ReplyEffect<S, M> {
        ReplyEffect(Kind::Stash(command))
    }

    /// Runs `then` when the events are written and applied, and not if that fails.
    #[must_use]
    pub fn then(mut self, then: impl FnOnce(&S, &mut Context<Entity<S>>) + 'static) -> Self {
        self.then.push(Box::new(then));
        self
    }

    /// Handles the stashed commands next, in their order, once the events are written and applied.
    #[must_use]
    pub fn then_unstash_all(mut self) -> Self {
        self.unstash = true;
        self
    }

    /// Stops the entity when the events are written and applied and the answer is sent.
    #[must_use]
    pub fn then_stop(mut self) -> Self {
        self.stop = true;
        self
    }

    /// Answers with a value of the new state, when the events are written and applied.
    pub fn then_reply<M: Message>(
        self,
        answer: impl FnOnce(&S) -> M::Result + 'static,
    ) -> ReplyEffect<S, M> {
        ReplyEffect(Kind::Act(self, Box::new(answer)))
    }

    /// Completes the effect of a command that has no answer.
    pub fn no_reply<M: Message<Result = ()>>(self) -> ReplyEffect<S, M> {
        self.then_reply(|_| ())
    }
}

impl<S: EventSourced> fmt::Debug for Effect<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Effect")
            .field("events", &self.events.len())
            .field("unstash", &self.unstash)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

impl<S: EventSourced, M: Message> fmt::Debug for ReplyEffect<S, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Act(effect, _) => return effect.fmt(formatter),
            Kind::Stash(_) => "Stash",
        };
        formatter.write_str(kind)
    }
}
