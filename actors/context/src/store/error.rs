//! The reasons why a store did not perform a step.

/// The reason why a store did not perform a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such session: it never existed, has expired, or belongs to another owner.
    #[error("there is no such session")]
    NoSuchSession,
    /// The owner has the maximum number of sessions.
    #[error("the owner holds as many sessions as it may")]
    Full,
    /// The owner's sessions have the maximum number of bytes.
    #[error(
        "the owner's sessions would hold more than {bytes_max} bytes (`context.owner_bytes_max`); delete sessions"
    )]
    BytesFull {
        /// The maximum number of bytes.
        bytes_max: u64,
    },
    /// The session has the maximum number of turns.
    #[error("the session holds as many turns as it may")]
    TurnsFull,
    /// The session has the maximum number of facts.
    #[error("the session holds {facts_max} facts (`context.memory.facts_max`); delete some")]
    FactsFull {
        /// The maximum number of facts.
        facts_max: u64,
    },
    /// Turns were removed from the session meanwhile. The step was not done.
    #[error("turns were removed from the session meanwhile")]
    Changed,
    /// The stored data cannot be read: it was modified, truncated, or written with another key.
    #[error("the session store is damaged: {0}")]
    Damaged(String),
    /// The store is unavailable now: the disk is full, the file is locked, or the file is gone.
    #[error("the session store is unavailable: {0}")]
    Failed(String),
    /// The store has so many other questions that it cannot answer this one in its time. The question was not done.
    #[error("the session store has too many questions")]
    Busy,
    /// The store has ended or does not answer, and must be opened again.
    #[error("the session store has ended")]
    Lost,
}

impl StoreError {
    /// Returns `true` if the store failed, and not the request.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Failed(_) | Self::Lost => true,
            Self::NoSuchSession
            | Self::Full
            | Self::BytesFull { .. }
            | Self::TurnsFull
            | Self::FactsFull { .. }
            | Self::Changed
            | Self::Busy => false,
        }
    }
}
