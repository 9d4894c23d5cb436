//! A recipient of one message type: an actor, a router or a function.

use std::{fmt, sync::Arc};

use super::offer::Offer;

/// Receives one type of message, on behalf of an actor, a router or a function.
pub struct Recipient<M>(Arc<dyn Fn(M) -> Offer + Send + Sync>);

impl<M> Recipient<M> {
    /// Creates a recipient from a function, for tests and for receivers that are not actors.
    pub fn new(receive: impl Fn(M) -> Offer + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Offers a message; never waits.
    pub fn tell(&self, message: M) -> Offer {
        (self.0)(message)
    }

    /// Offers a message, as [`Recipient::tell`], where nothing depends on whether it is taken.
    pub fn post(&self, message: M) {
        let _nothing_depends_on_it = self.tell(message);
    }

    /// Returns a recipient of `N` that translates each message and tells it to this one. The translation runs in the
    /// sender; use `ActorRef::adapter` to run it in the receiving actor.
    pub fn contramap<N>(self, translate: impl Fn(N) -> M + Send + Sync + 'static) -> Recipient<N>
    where
        M: 'static,
    {
        Recipient::new(move |message| self.tell(translate(message)))
    }
}

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Recipient<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recipient").finish_non_exhaustive()
    }
}
