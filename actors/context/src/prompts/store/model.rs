//! What the store is asked for, what it answers, and why it refuses.

use std::collections::BTreeMap;

/// The reason why the store did not do what it was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptStoreError {
    /// There is no such prompt.
    #[error("there is no stored prompt `{0}`")]
    NoPrompt(String),
    /// The prompt has no such version.
    #[error("prompt `{0}` has no version {1}")]
    NoVersion(String, u64),
    /// There are as many of something as there may be.
    #[error("there are already {max} {what}")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        max: u64,
    },
    /// No call of the tenant is known that got the prompt and has this id.
    #[error("no call of yours with this prompt is known by this id")]
    NoCall,
    /// The outcome of the call was reported before.
    #[error("the outcome of this call was reported before")]
    Twice,
    /// The file is damaged, is not a store of prompts, or has another key.
    #[error("{0}")]
    Damaged(String),
    /// The file cannot be used now.
    #[error("the store of prompts failed: {0}")]
    Failed(String),
}

/// The name of a call in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallId {
    /// The id of its request.
    Request(String),
    /// The session to which it belongs.
    Session(String),
}

/// What a call got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallNote {
    /// The tenant.
    pub owner: String,
    /// The id of the request.
    pub call: String,
    /// The session, if the call belongs to one.
    pub session: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The version.
    pub version: String,
}

/// A change of the labels and shares of a stored prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptChange {
    /// The versions of labels; a label without a version is removed. Other labels stay.
    pub labels: BTreeMap<String, Option<u64>>,
    /// The new shares, which replace the old ones.
    pub split: Option<BTreeMap<u64, f64>>,
}

/// An entry of the history of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened, in milliseconds of Unix time.
    pub at: u64,
    /// The name of the key that did it.
    pub author: String,
    /// What was done.
    pub change: String,
}

/// What is held of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptHeld {
    /// Calls whose versions are remembered.
    pub calls: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// When the oldest was written, in milliseconds of Unix time.
    pub oldest: Option<u64>,
    /// When the newest was written, in milliseconds of Unix time.
    pub newest: Option<u64>,
}

/// Whether the store works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromptStoreHealth {
    /// Why the last use of the file failed; `None` if it did not.
    pub reason: Option<String>,
    /// `true` if the stored prompts have not been read since the start.
    pub unread: bool,
    /// The uses of the file that failed since the start.
    pub failures: u64,
}

impl PromptStoreHealth {
    /// Takes note of how a use of the file ended.
    pub(super) fn note<T>(&mut self, done: &Result<T, PromptStoreError>) {
        match done {
            Err(PromptStoreError::Failed(reason) | PromptStoreError::Damaged(reason)) => {
                self.reason = Some(reason.clone());
                self.failures += 1;
            }
            // Steps that read no prompts do not tell whether these can be read.
            _ if self.unread => {}
            _ => self.reason = None,
        }
    }
}
