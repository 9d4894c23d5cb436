//! The checks of one answer, whole or streamed.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use actix_web::web::Data;
use bytes::{Bytes, BytesMut};
use kebne_guard::{Hits, Released, Rules, Side, Stopped, StreamGuard};
use kebne_wire::texts::{self, Replacement, Text};

use crate::{
    guards::{Applied, Checker, Question, refusal},
    memory::hold_like,
    stages::notes::Notes,
    state::State,
    surface::error::ApiError,
};

/// The characters of a stream that are checked again with the next part, so that what spans two parts is seen.
const OVERLAP: usize = 256;

/// The checks of one answer.
pub(in crate::stages) struct OutputGuard {
    rules: Rules,
    checkers: Vec<Arc<Checker>>,
    question: Question,
    notes: Notes,
    state: Data<State>,
}

/// A check of a part of a stream that goes on.
pub(in crate::stages) type StreamCheck = Pin<Box<dyn Future<Output = Result<(), ApiError>>>>;

/// What happens to a part of a stream.
pub(in crate::stages) enum Step {
    /// The events are passed on. With an error, nothing follows.
    Pass(Bytes, Option<ApiError>),
    /// A check is made first; then [`GuardedStream::checked`] returns the events.
    Check(StreamCheck),
}

/// The checks of a stream.
pub(in crate::stages) struct GuardedStream {
    guard: OutputGuard,
    stream: StreamGuard,
    /// The events that wait for a check, and their texts: those of different members are read apart.
    unchecked: BytesMut,
    texts: BTreeMap<String, String>,
    /// The ends of what was checked before.
    overlaps: BTreeMap<String, String>,
    /// The error that ends the stream after the events that wait.
    error: Option<ApiError>,
}

impl OutputGuard {
    /// Creates the checks; `None` if no guard looks at answers.
    pub(super) fn new(
        applied: &Applied,
        question: Question,
        notes: Notes,
        state: &Data<State>,
    ) -> Option<Self> {
        let rules = applied.rules(Side::Output);
        let checkers = applied.checkers(Side::Output);
        if rules.is_empty() && checkers.is_empty() {
            return None;
        }
        Some(Self {
            rules,
            checkers,
            question: Question {
                side: Side::Output,
                ..question
            },
            notes,
            state: state.clone(),
        })
    }

    /// Checks a whole answer. Returns it with its matches masked.
    ///
    /// # Errors
    /// Returns an error if the answer is refused or cannot be checked.
    pub(in crate::stages) async fn whole(&self, body: Bytes) -> Result<Bytes, ApiError> {
        let read = |source: &[u8]| texts::of_answer(source).ok();
        self.checked(body, read).await
    }

    /// Checks a whole answer in which each string is a text. Returns it with its matches masked.
    ///
    /// # Errors
    /// As [`OutputGuard::whole`].
    pub(in crate::stages) async fn json(&self, body: Bytes) -> Result<Bytes, ApiError> {
        let read = |source: &[u8]| texts::of_json(str::from_utf8(source).ok()?);
        self.checked(body, read).await
    }

    async fn checked(
        &self,
        body: Bytes,
        read: fn(&[u8]) -> Option<Vec<Text>>,
    ) -> Result<Bytes, ApiError> {
        let (size, source, rules) = (body.len(), body.clone(), self.rules.clone());
        let work = move || {
            let mut hits = Hits::new();
            let Some(texts) = read(&source) else {
                let error = ApiError::unguarded("the backend's answer cannot be checked");
                return (hits, Err(error));
            };
            let mut edits = match rules.edits(&texts, &mut hits) {
                Ok(edits) => edits,
                Err(refused) => return (hits, Err(refusal(&refused, Side::Output))),
            };
            let masked = (!edits.is_empty()).then(|| {
                let blank = texts::probabilities(&source).into_iter();
                edits.extend(blank.map(|span| (span, Replacement::Null)));
                edits.sort_by_key(|(span, _)| span.start);
                Bytes::from(texts::replaced(&source, &edits))
            });
            let texts: Vec<String> = texts.into_iter().map(|text| text.value).collect();
            (hits, Ok((masked, texts)))
        };
        let (hits, masked) = self.state.off_loop.read(size, work).await?;
        self.notes.add_hits(hits);
        let (masked, texts) = masked?;
        self.check(texts).await?;
        Ok(masked.map_or(body.clone(), |masked| hold_like(body, masked)))
    }

    /// Asks the services.
    fn check(&self, texts: Vec<String>) -> StreamCheck {
        let (checkers, notes) = (self.checkers.clone(), self.notes.clone());
        let state = self.state.clone();
        let question = Question {
            texts,
            ..self.question.clone()
        };
        Box::pin(async move {
            for checker in checkers {
                let mut hits = Hits::new();
                let checked = checker.check(&state.gateway, &question, &mut hits).await;
                notes.add_hits(hits);
                checked?;
            }
            Ok(())
        })
    }

    /// Begins the checks of a stream.
    pub(in crate::stages) fn stream(self) -> GuardedStream {
        GuardedStream {
            stream: StreamGuard::new(self.rules.clone()),
            guard: self,
            unchecked: BytesMut::new(),
            texts: BTreeMap::new(),
            overlaps: BTreeMap::new(),
            error: None,
        }
    }
}

impl GuardedStream {
    /// Takes complete events.
    pub(in crate::stages) fn push(&mut self, events: &Bytes) -> Step {
        let released = self.stream.push(events);
        let released = Released {
            events: hold_like(events.clone(), released.events),
            ..released
        };
        let step = self
            .guard
            .checkers
            .iter()
            .map(|checker| checker.step())
            .min();
        self.take(released, step.unwrap_or(1))
    }

    /// Takes the end of the stream: everything that waits is checked.
    pub(in crate::stages) fn end(&mut self) -> Step {
        let released = self.stream.end();
        self.take(released, 0)
    }

    /// Returns the events that were held back for rules, for a stream that ends with another error. What waits for a check
    /// is not passed on.
    pub(in crate::stages) fn lost(&mut self) -> Bytes {
        let released = self.stream.end();
        self.guard.notes.add_hits(self.stream.take_hits());
        if self.guard.checkers.is_empty() {
            released.events
        } else {
            Bytes::new()
        }
    }

    /// Returns the events that a check has passed, and the error that follows them.
    pub(in crate::stages) fn checked(&mut self) -> (Bytes, Option<ApiError>) {
        (self.unchecked.split().freeze(), self.error.take())
    }

    fn take(&mut self, released: Released, step: usize) -> Step {
        self.guard.notes.add_hits(self.stream.take_hits());
        let error = released.stopped.map(|stopped| match stopped {
            Stopped::Refused(refused) => refusal(&refused, Side::Output),
            Stopped::Unreadable => ApiError::unguarded(
                "the answer cannot be checked: an event is not valid, or a tool call is too large",
            ),
        });
        if self.guard.checkers.is_empty() {
            return Step::Pass(released.events, error);
        }
        self.unchecked.extend_from_slice(&released.events);
        for (name, text) in released.texts {
            self.texts.entry(name).or_default().push_str(&text);
        }
        self.error = self.error.take().or(error);
        let size: usize = self.texts.values().map(String::len).sum();
        let is_due = size >= step || self.error.is_some();
        if !is_due {
            return Step::Pass(Bytes::new(), None);
        }
        if size == 0 {
            let (events, error) = self.checked();
            return Step::Pass(events, error);
        }
        let texts = std::mem::take(&mut self.texts).into_iter();
        let texts = texts.filter(|(_, text)| !text.is_empty());
        let asked = texts.map(|(name, text)| {
            let overlap = self.overlaps.entry(name).or_default();
            let text = std::mem::take(overlap) + &text;
            let kept = text.ceil_char_boundary(text.len().saturating_sub(OVERLAP));
            text[kept..].clone_into(overlap);
            text
        });
        let asked = asked.collect();
        Step::Check(self.guard.check(asked))
    }
}
