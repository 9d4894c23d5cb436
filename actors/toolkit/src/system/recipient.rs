//! A recipient of one message type, behind which anything may stand.

use std::{fmt, sync::Arc};

use super::offer::Offer;

/// Receives one type of message; who stands behind it is not said.
pub struct Recipient<M>(Arc<dyn Fn(M) -> Offer + Send + Sync>);

impl<M> Recipient<M> {
    /// Makes a recipient of a function, for tests and for things that are no actors.
    pub fn new(receive: impl Fn(M) -> Offer + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Offers a message; never waits.
    pub fn tell(&self, message: M) -> Offer {
        (self.0)(message)
    }

    /// Returns a recipient of `N`, each of which is translated and told to this one. The translation runs
    /// where the message is sent; an actor that is to translate itself uses `ActorRef::adapter`.
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
