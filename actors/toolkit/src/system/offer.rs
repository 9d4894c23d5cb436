//! The result of offering a message.

/// What became of an offered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Offer {
    /// It waits in the mailbox.
    Enqueued,
    /// The mailbox is full: it was dropped.
    Dropped,
    /// The actor has stopped.
    Closed,
    /// The overflow strategy failed the mailbox.
    Failed,
}

impl Offer {
    /// Says whether the message waits in the mailbox.
    pub fn is_enqueued(self) -> bool {
        self == Self::Enqueued
    }
}
