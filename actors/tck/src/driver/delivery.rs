//! The driver for reliable delivery: a producer and a consumer with a link between them that a case can disturb.
//!
//! A worker holds what it is given until the case has it confirm or forget it.

use super::Unsupported;
use crate::case::{CaseResult, ensure_eq};

pub use super::work_pulling::settle;

/// Opens pairs.
pub trait Driver: Send + Sync {
    /// Opens a producer and a consumer with a link between them.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn open(&self, spec: Spec) -> Result<Box<dyn Pair>, Unsupported>;
}

/// A pair to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Messages that may be sent and not confirmed; `None` for the library's default.
    pub window: Option<u32>,
    /// Messages that may be accepted and not confirmed; `None` for the library's default.
    pub buffer: Option<usize>,
}

/// A direction of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the producer to the consumer.
    Forth,
    /// From the consumer to the producer.
    Back,
}

/// What a direction of the link does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// It passes everything on.
    Clear,
    /// It loses so many, then it is clear.
    Loses(u32),
    /// It loses everything.
    Down,
    /// It passes everything on twice.
    Repeats,
    /// It loses one in five, repeats one in five and delays one in five behind the next, by chance from this seed.
    Foul(u64),
}

/// A producer and a consumer.
pub trait Pair {
    /// Offers a message. Returns `true` if it was accepted.
    fn offer(&self, message: u32) -> bool;

    /// Offers a message whose confirmation is to be heard of.
    fn submit(&self, message: u32) -> Box<dyn Receipt>;

    /// Registers who produces, or registers anew.
    fn start_producer(&self);

    /// Returns how many messages the last that registered is asked for and has not sent.
    fn requests(&self) -> usize;

    /// Sends a message that was asked for; `false` when none was.
    fn send(&self, message: u32) -> bool;

    /// Starts a worker and registers it with the consumer.
    fn worker(&self, name: &'static str) -> Box<dyn Worker>;

    /// Changes what the link does in one direction.
    fn weather(&self, way: Way, weather: Weather);

    /// Returns all messages that the producer has given to the link, in their order.
    fn sent(&self) -> Vec<u32>;

    /// Stops the consumer and starts another, which knows nothing.
    fn replace_consumer(&self);

    /// Stops the producer and starts another, which knows nothing.
    fn replace_producer(&self);
}

impl dyn Pair + '_ {
    /// Offers messages; all must be accepted.
    ///
    /// # Errors
    /// Fails the case when one is not.
    pub fn offer_all(&self, messages: impl IntoIterator<Item = u32>) -> CaseResult {
        for message in messages {
            ensure_eq("accepted", &self.offer(message), &true)?;
        }
        Ok(())
    }
}

/// A producer's view of a message.
pub trait Receipt {
    /// Returns `true` once the message is confirmed.
    fn is_confirmed(&mut self) -> bool;
}

/// A worker.
pub trait Worker {
    /// Returns the messages that it holds.
    fn messages(&self) -> Vec<u32>;

    /// Has it confirm the message it got first; returns `true` if it held one.
    fn confirm(&self) -> bool;

    /// Has it forget the message it got first.
    ///
    /// # Errors
    /// Returns what the library has no notion of.
    fn forget(&self) -> Result<(), Unsupported>;

    /// Stops it; the case keeps what it held, to confirm it late.
    fn stop(&self);
}

impl dyn Worker + '_ {
    /// Compares what it holds once all has happened.
    ///
    /// # Errors
    /// Fails the case when it holds something else.
    pub async fn expect(&self, messages: &[u32]) -> CaseResult {
        settle().await;
        ensure_eq("messages in hand", &self.messages(), &messages.to_vec())
    }

    /// Expects messages one after the other, and confirms each.
    ///
    /// # Errors
    /// Fails the case when another comes, or none.
    pub async fn take(&self, messages: impl IntoIterator<Item = u32>) -> CaseResult {
        for message in messages {
            self.expect(&[message]).await?;
            self.confirm();
        }
        settle().await;
        Ok(())
    }
}
