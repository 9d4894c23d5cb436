//! The parts of a streamed answer that guards have checked.

use bytes::Bytes;

use super::{State, StreamBody};
use crate::{
    stages::guard::{GuardedStream, Step},
    surface::error::ApiError,
};

impl StreamBody {
    /// Does what the guards require with a part of the answer.
    pub(super) fn step(&mut self, step: Step) -> Bytes {
        match step {
            Step::Pass(events, error) => self.pass_until(events, error.as_ref()),
            Step::Check(check) => {
                match std::mem::replace(&mut self.state, State::Over) {
                    State::Streaming(source) => {
                        self.state = State::Checking { check, source };
                    }
                    other => self.state = other,
                }
                Bytes::new()
            }
        }
    }

    /// Continues after a check.
    pub(super) fn checked(&mut self, checked: Result<(), ApiError>) -> Bytes {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Checking { source, .. } => {
                self.state = State::Streaming(source);
            }
            other => self.state = other,
        }
        if let Err(error) = checked {
            return self.fail(&error);
        }
        let checked = self.guarded.as_mut().map(GuardedStream::checked);
        let (events, error) = checked.unwrap_or_default();
        self.pass_until(events, error.as_ref())
    }

    /// Writes events, and then the error that ends the stream.
    pub(super) fn pass_until(&mut self, events: Bytes, error: Option<&ApiError>) -> Bytes {
        let passed = self.pass_some(events);
        match error {
            Some(error) if !matches!(self.state, State::Over) => joined(passed, self.fail(error)),
            _ => passed,
        }
    }

    pub(super) fn pass_some(&mut self, events: Bytes) -> Bytes {
        if events.is_empty() {
            return events;
        }
        self.pass(events)
    }
}

/// Returns one part after the other.
pub(super) fn joined(first: Bytes, second: Bytes) -> Bytes {
    if first.is_empty() {
        return second;
    }
    Bytes::from([first, second].concat())
}
