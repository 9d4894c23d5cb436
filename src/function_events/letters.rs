//! Events that could not be delivered.

use kebne_event_bus::{FileError, Message};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FunctionEvents;

/// An event that could not be delivered to a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The function.
    pub function: String,
    /// Why the last try failed.
    pub reason: String,
    /// The tries since the process started.
    pub tries: u32,
    /// When it was given up, in seconds of Unix time.
    pub at: u64,
    /// The event, as the function was to get it.
    pub event: Value,
}

/// The reason why dead letters cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    /// No function of this name gets events.
    #[error("no function `{0}` gets events")]
    NoFunction(String),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A letter with its number in the file, and the message in which it is kept.
type Numbered = (i64, Message, DeadLetter);

impl DeadLetter {
    /// Returns the message in which the letter of an event is kept. Its key is that of the event, so that it is erased with its tenant.
    pub(super) fn message(&self, event: &Message) -> Message {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        Message::new(
            event.id.as_str(),
            event.topic.as_str(),
            event.key.as_str(),
            payload,
        )
    }
}

impl FunctionEvents {
    /// Returns the dead letters of a function, the oldest first.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub async fn letters_of(&self, function: &str) -> Result<Vec<DeadLetter>, LetterError> {
        let found = self.numbered(function).await?;
        Ok(found.into_iter().map(|(.., letter)| letter).collect())
    }

    /// Has the dead letters of a function delivered again, after the events that wait; returns their number.
    ///
    /// # Errors
    /// Fails if the function gets no events, or a file cannot be used. Letters that wait again by then may be delivered twice.
    pub async fn deliver_again(&self, function: &str) -> Result<u64, LetterError> {
        let outbox = self
            .functions()
            .get(function)
            .map(|subscribed| subscribed.outbox.clone());
        let outbox = outbox.ok_or_else(|| LetterError::NoFunction(function.to_owned()))?;
        let mut count = 0;
        for (number, kept, letter) in self.numbered(function).await? {
            let payload = letter.event.to_string();
            outbox
                .keep(Message::new(kept.id, kept.topic, kept.key, payload))
                .await?;
            self.remove_numbers(vec![number]).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Removes the dead letters of a function; returns their number.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub async fn remove_letters(&self, function: &str) -> Result<u64, LetterError> {
        let found = self.numbered(function).await?;
        let numbers: Vec<i64> = found.into_iter().map(|(number, ..)| number).collect();
        let count = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        self.remove_numbers(numbers).await?;
        Ok(count)
    }

    async fn numbered(&self, function: &str) -> Result<Vec<Numbered>, LetterError> {
        let Some(dead) = self.letters() else {
            return Ok(Vec::new());
        };
        let max = usize::try_from(self.0.settings.dead_letters_max).unwrap_or(usize::MAX);
        let read = dead.read(max).await?.into_iter();
        let letters = read.filter_map(|(number, message)| {
            let message = message?;
            let letter: DeadLetter = serde_json::from_slice(&message.payload).ok()?;
            (letter.function == function).then_some((number, message, letter))
        });
        Ok(letters.collect())
    }

    async fn remove_numbers(&self, numbers: Vec<i64>) -> Result<(), LetterError> {
        match self.letters() {
            Some(dead) => Ok(dead.remove(numbers).await?),
            None => Ok(()),
        }
    }
}
