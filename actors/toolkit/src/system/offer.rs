//! The result of offering a message.

/// The result of offering a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Offer {
    /// The message is in the mailbox.
    Enqueued,
    /// The mailbox is full, and the message was dropped.
    Dropped,
    /// The actor has stopped.
    Closed,
    /// The mailbox is full, and its overflow strategy fails the actor.
    Failed,
}

impl Offer {
    /// Returns `true` if the message is in the mailbox.
    pub fn is_enqueued(self) -> bool {
        self == Self::Enqueued
    }
}
