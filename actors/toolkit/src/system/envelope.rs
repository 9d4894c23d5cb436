//! A queued message, whatever its type: what a cell does with it.

use std::sync::Arc;

use actix::Actor;

use super::{
    ask::AskState,
    dead_letters::{Kind, Undelivered},
};

/// What a cell can do with a queued message.
pub(crate) trait Deliver<A: Actor>: Send {
    /// Notes that the actor takes the message, before [`Deliver::deliver`].
    fn begin(&self) {}

    /// Hands the message to the actor.
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context);

    /// Drops the message where the actor was about to handle it.
    fn skip(self: Box<Self>, _ctx: &mut A::Context) {}

    /// Drops the message, which will not be handled for this reason.
    fn abandon(self: Box<Self>, _reason: Undelivered) {}

    /// Returns `true` if the asker no longer waits, so that the message can be skipped.
    fn is_abandoned(&self) -> bool {
        false
    }

    /// Returns what is cancelled when the asker gives up; `None` for a tell.
    fn asker(&self) -> Option<Arc<AskState>> {
        None
    }

    /// The message's type, for dead letters.
    fn kind(&self) -> Kind;

    /// Returns `true` if the message resets the receive timeout.
    fn influences_receive_timeout(&self) -> bool {
        true
    }
}

/// A queued message.
pub(crate) type Envelope<A> = Box<dyn Deliver<A>>;
