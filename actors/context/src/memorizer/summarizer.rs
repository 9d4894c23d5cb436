//! What the memorizer asks of the program.

use futures_core::future::LocalBoxFuture;

use crate::{notes::Fact, store::Turn};

/// The future answer of a model. It is awaited on the thread of the actor.
pub type Asked<T> = LocalBoxFuture<'static, Result<T, SummarizerError>>;

/// Turns to summarize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryTask {
    /// The owner of the session, on whose behalf a model is asked.
    pub owner: String,
    /// The summary of all turns before these.
    pub previous: Option<String>,
    /// The turns, the oldest first.
    pub turns: Vec<Turn>,
}

/// Turns from which facts are extracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactsTask {
    /// The owner of the session, on whose behalf a model is asked.
    pub owner: String,
    /// The facts that are known.
    pub known: Vec<Fact>,
    /// The turns, the oldest first.
    pub turns: Vec<Turn>,
}

/// A fact that a model names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtractedFact {
    /// The text.
    pub text: String,
    /// The numbers of the turns from which it is.
    pub turns: Vec<u64>,
    /// The number of the known fact in whose place it stands.
    pub replaces: Option<u64>,
}

/// The reason why a model gave no summary and no facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SummarizerError {
    /// The model did not answer; a retry may succeed.
    #[error("the model did not answer: {0}")]
    NoAnswer(String),
    /// A budget of the owner has no room for the call.
    #[error("{0}")]
    Unpaid(String),
    /// The answer cannot be used.
    #[error("the answer of the model cannot be used: {0}")]
    Unusable(String),
}

/// Asks models for summaries and facts, in the background.
pub trait Summarizer: Send + Sync + 'static {
    /// Returns `true` if summaries are wanted.
    fn summarizes(&self) -> bool;

    /// Returns `true` if facts are wanted.
    fn extracts(&self) -> bool;

    /// Returns one summary of all turns so far.
    fn summarize(&self, task: SummaryTask) -> Asked<String>;

    /// Returns the facts in some turns that are not known, or that have changed.
    fn extract(&self, task: FactsTask) -> Asked<Vec<ExtractedFact>>;
}
