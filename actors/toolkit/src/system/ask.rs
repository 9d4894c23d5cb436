//! An ask as both of its sides see it: how far it got, and why it has no answer.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
};

use tokio_util::sync::CancellationToken;

use super::dead_letters::Undelivered;

/// Why an ask has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor has stopped; the message was not handled.
    #[error("the actor has stopped")]
    Stopped,
    /// The actor is about to restart, and its mailbox is full or its strategy refuses messages meanwhile. The
    /// message was not handled, so that it is safe to retry.
    #[error("the actor is restarting")]
    Restarting,
    /// This message failed: its handler, or the future of its answer, panicked or dropped the answer.
    #[error("the actor failed to answer")]
    Failed,
    /// The actor failed on another message, or stopped, while the future of this answer ran. The work may have
    /// been done in part.
    #[error("the actor ended before it answered")]
    Interrupted,
    /// No answer came in time. A message that the actor has taken may still be handled; one that waits is skipped.
    #[error("the actor did not answer in time")]
    TimedOut,
    /// The mailbox is full; the message was not handled.
    #[error("the mailbox is full")]
    MailboxFull,
}

/// How far an ask got; shared by the asker and the message.
#[derive(Debug)]
pub(crate) struct AskState {
    stage: AtomicU8,
    /// Cancelled when the asker no longer waits; created when a handler asks for it, which few do.
    given_up: OnceLock<CancellationToken>,
    /// The asker no longer waits.
    is_over: AtomicBool,
    /// The actor's asks in work, this one included once it is begun.
    in_work: Arc<AtomicUsize>,
}

/// Waiting in the mailbox.
const QUEUED: u8 = 0;
/// Taken by the actor.
const BEGUN: u8 = 1;
/// Still in the mailbox when the actor stopped.
const STOPPED: u8 = 2;
/// Dropped from the mailbox to make room.
const DROPPED: u8 = 3;
/// Taken by an instance that ended of something else.
const INTERRUPTED: u8 = 4;

impl AskState {
    pub(crate) fn new(in_work: Arc<AtomicUsize>) -> Self {
        Self {
            stage: AtomicU8::new(QUEUED),
            given_up: OnceLock::new(),
            is_over: AtomicBool::new(false),
            in_work,
        }
    }

    /// Notes that the actor takes the message.
    pub(crate) fn begin(&self) {
        self.stage.store(BEGUN, SeqCst);
        self.in_work.fetch_add(1, SeqCst);
    }

    /// Notes that the actor puts the message aside, to take it again.
    pub(crate) fn put_aside(&self) {
        if self.stage.swap(QUEUED, SeqCst) == BEGUN {
            self.in_work.fetch_sub(1, SeqCst);
        }
    }

    /// Returns a token that is cancelled once the asker no longer waits.
    pub(crate) fn given_up(&self) -> CancellationToken {
        let token = self.given_up.get_or_init(CancellationToken::new);
        if self.is_over.load(SeqCst) {
            token.cancel();
        }
        token.clone()
    }

    /// Notes that the asker no longer waits.
    pub(crate) fn end(&self) {
        self.is_over.store(true, SeqCst);
        if let Some(token) = self.given_up.get() {
            token.cancel();
        }
    }

    fn was_begun(&self) -> bool {
        matches!(self.stage.load(SeqCst), BEGUN | INTERRUPTED)
    }

    /// Notes that the answer is lost although its message did not fail.
    pub(crate) fn interrupt(&self) {
        self.stage.store(INTERRUPTED, SeqCst);
    }

    /// Notes that the message will not be handled, before its answer is dropped, which wakes the asker.
    pub(crate) fn abandon(&self, reason: Undelivered) {
        let stage = match reason {
            Undelivered::Stopped => STOPPED,
            Undelivered::Dropped => DROPPED,
        };
        self.stage.store(stage, SeqCst);
    }

    /// Returns why the answer was lost.
    pub(crate) fn error(&self) -> AskError {
        match self.stage.load(SeqCst) {
            BEGUN => AskError::Failed,
            DROPPED => AskError::MailboxFull,
            INTERRUPTED => AskError::Interrupted,
            _ => AskError::Stopped,
        }
    }
}

impl Drop for AskState {
    fn drop(&mut self) {
        if self.was_begun() {
            self.in_work.fetch_sub(1, SeqCst);
        }
    }
}

/// An ask as its asker has it; dropped when the asker no longer waits.
#[derive(Debug)]
pub(crate) struct Asking(pub(crate) Arc<AskState>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.end();
    }
}
