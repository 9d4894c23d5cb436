//! Reads the stream of an answer in the `OpenAI` dialect and passes its events on, without copying those that are
//! unchanged.
//!
//! The first chunk of a choice gets the role of the assistant if it has none, and tool calls get what official clients
//! require (`normal_form`).
//! Lines that callers must not get are removed: `id:` and `retry:` (an SDK then delivers empty events), comments (the
//! service sends its own) and events without data. Each event that is passed on has one line of data that is a JSON
//! object. The framer also determines how the stream ended: an answer is complete when `[DONE]` has arrived or every
//! choice has a finish reason; otherwise it is incomplete. Memory is bounded by the largest event.

use std::{borrow::Cow, sync::Arc};

use bytes::{Bytes, BytesMut};

use crate::{
    chunk::{CHOICES_MAX, ChoiceView, ChunkView, Finish, Shape},
    error::ErrorView,
    json,
    normal_form::NormalForm,
    role::with_roles,
    sse::{Event, Splitter, events, write},
    surrogates,
    usage::Usage,
};

/// The event that ends a stream, exactly as SDKs compare it.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The reason why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The server reported an error in the place of an answer. The bytes are the error as it arrived.
    Error(Bytes),
    /// An event, or the whole answer, is larger than allowed.
    TooLarge,
    /// The data is not JSON, or does not have the shape of the dialect.
    Unreadable,
    /// It is well-formed but contains no choice.
    Empty,
    /// A choice ended with a reason that reports a failure, such as `abort`.
    Failed,
    /// The end came before the answer was complete.
    Cut,
}

/// Reads one stream.
#[derive(Debug)]
pub struct Framer {
    splitter: Splitter,
    event_size_max: usize,
    progress: Progress,
    /// The shape of the last chunk that was parsed.
    shape: Option<Shape>,
    /// `true` if `[DONE]` was passed on; everything after it is ignored.
    done: bool,
    /// The tokens, as given in the usage.
    usage: Usage,
    /// `true` if the chunk with the usage is not passed on.
    hides_usage: bool,
    /// Chunks, about one token each.
    chunks: u32,
    normal_form: NormalForm,
    problem: Option<Problem>,
}

/// The progress of the choices of an answer.
#[derive(Debug)]
struct Progress {
    /// The number of requested choices.
    expected: usize,
    /// The choices seen, by index.
    choices: Vec<Choice>,
    spoke: bool,
}

#[derive(Debug)]
struct Choice {
    index: u32,
    ended: bool,
    /// `true` if it continued after a finish reason, so its reasons have no meaning.
    is_unreliable: bool,
}

/// What happens to one event.
enum EventAction {
    Keep,
    Replace(Bytes),
    Drop,
    Done,
    Stop,
}

impl Framer {
    /// Creates a framer for events of at most `event_size_max` bytes and an answer of `choices` choices.
    pub fn new(event_size_max: usize, choices: u32) -> Self {
        let expected = usize::try_from(choices).unwrap_or(usize::MAX);
        Self {
            splitter: Splitter::new(event_size_max),
            event_size_max,
            progress: Progress {
                expected: expected.clamp(1, CHOICES_MAX),
                choices: Vec::new(),
                spoke: false,
            },
            shape: None,
            done: false,
            usage: Usage::default(),
            hides_usage: false,
            chunks: 0,
            normal_form: NormalForm::default(),
            problem: None,
        }
    }

    /// Makes the ids of tool calls that have none of `seed`, which should differ from that of all other answers.
    #[must_use]
    pub fn with_id_seed(mut self, seed: Arc<str>) -> Self {
        self.normal_form = NormalForm::new(seed);
        self
    }

    /// Does not pass on the chunk that contains only the usage, because the caller did not ask for it.
    #[must_use]
    pub fn hiding_usage(mut self) -> Self {
        self.hides_usage = true;
        self
    }

    /// Returns the number of bytes that are held of an event that is not complete.
    pub fn pending(&self) -> usize {
        self.splitter.pending()
    }

    /// Takes the next bytes. Returns the events that are complete now, or `None` if none is passed on.
    pub fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        if self.done || self.problem.is_some() {
            return None;
        }
        if let Ok(lines) = self.splitter.push(chunk) {
            return self.inspect(lines?);
        }
        self.problem = Some(Problem::TooLarge);
        None
    }

    /// Takes the end of the bytes. Returns the remaining events that are passed on, and `true` if the answer is
    /// complete. An incomplete event is discarded.
    pub fn end(&mut self) -> (Option<Bytes>, bool) {
        let rest = self.splitter.take_incomplete();
        if !self.done && self.problem.is_none() {
            self.inspect_incomplete(&rest);
        }
        if self.problem.is_some() {
            return (None, false);
        }
        if self.done {
            return (None, true);
        }
        if !self.is_answered() {
            return (None, false);
        }
        self.done = true;
        (Some(Bytes::from_static(DONE)), true)
    }

    /// Returns `true` if `[DONE]` was passed on.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Returns `true` if every choice has a finish reason. The answer is then complete even if `[DONE]` never arrives.
    pub fn is_answered(&self) -> bool {
        self.problem.is_none() && self.progress.is_answered()
    }

    /// Returns `true` if a choice has content, or has ended.
    pub fn has_spoken(&self) -> bool {
        self.progress.spoke
    }

    /// Returns `true` if an event with choices has arrived.
    pub fn has_begun(&self) -> bool {
        !self.progress.choices.is_empty()
    }

    /// Returns the problem that stopped the reading, or `None`.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// Returns the output tokens: the number in the usage, or else the number of chunks.
    pub fn tokens(&self) -> u32 {
        self.usage.output_tokens().unwrap_or(self.chunks)
    }

    /// Returns the tokens that the server has reported.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Reads complete events. Returns them unchanged, or rewritten if something must be removed.
    fn inspect(&mut self, lines: Bytes) -> Option<Bytes> {
        let lines = json::as_utf8(lines);
        let mut rewritten: Option<BytesMut> = None;
        // As long as nothing is rewritten, everything up to here is passed on unchanged.
        let mut plain_end = 0;
        for event in events(&lines) {
            let action = self.judge(&event, &lines);
            let is_exact = match action {
                EventAction::Keep => event.is_plain,
                EventAction::Done => &lines[event.span.clone()] == DONE,
                EventAction::Replace(_) | EventAction::Drop => false,
                EventAction::Stop => break,
            };
            if is_exact && rewritten.is_none() {
                plain_end = event.span.end;
            } else {
                let out = rewritten.get_or_insert_with(|| BytesMut::from(&lines[..plain_end]));
                match &action {
                    EventAction::Keep if is_exact => {
                        out.extend_from_slice(&lines[event.span.clone()]);
                    }
                    EventAction::Keep => {
                        write(event.name, event.data.as_deref().unwrap_or(b"{}"), out);
                    }
                    EventAction::Replace(data) => write(event.name, data, out),
                    EventAction::Done => out.extend_from_slice(DONE),
                    EventAction::Drop | EventAction::Stop => {}
                }
            }
            if matches!(action, EventAction::Done) {
                self.done = true;
                break;
            }
        }
        let passed = match rewritten {
            None => lines.slice(..plain_end),
            Some(out) => out.freeze(),
        };
        Some(passed).filter(|passed| !passed.is_empty())
    }

    /// Looks for an error or `[DONE]` in the incomplete end. Nothing else can begin like either.
    fn inspect_incomplete(&mut self, rest: &Bytes) {
        let Some(event) = events(rest).last() else {
            return;
        };
        let data = event.data.as_deref().unwrap_or_default().trim_ascii();
        let text = event.stray.unwrap_or(data);
        if data == b"[DONE]" && self.has_begun() {
            self.progress.end_all();
        } else if ErrorView::read(text).is_some() {
            self.problem = Some(Problem::Error(Bytes::copy_from_slice(text)));
        }
    }

    /// Determines what happens to one event.
    fn judge(&mut self, event: &Event<'_>, lines: &Bytes) -> EventAction {
        if event.span.len() > self.event_size_max {
            return self.stop(Problem::TooLarge);
        }
        if let Some(stray) = event.stray
            && ErrorView::read(stray).is_some()
        {
            return self.stop(Problem::Error(lines.slice_ref(stray)));
        }
        let Some(data) = &event.data else {
            return EventAction::Drop;
        };
        let owned = || match data {
            Cow::Borrowed(data) => lines.slice_ref(data),
            Cow::Owned(data) => Bytes::copy_from_slice(data),
        };
        match data.trim_ascii() {
            b"" => EventAction::Drop,
            b"[DONE]" if self.has_begun() => EventAction::Done,
            b"[DONE]" => self.stop(Problem::Empty),
            _ if event.name == Some(b"error") => self.stop(Problem::Error(owned())),
            text => self.judge_chunk(text, owned),
        }
    }

    /// Determines what happens to a chunk. A chunk of the same shape as the last one is not parsed.
    fn judge_chunk(&mut self, text: &[u8], owned: impl Fn() -> Bytes) -> EventAction {
        if let Some(shape) = self.shape.take() {
            let action = shape
                .view_of(text)
                .map(|view| self.note(view, text, &owned));
            self.shape = Some(shape);
            if let Some(action) = action {
                return action;
            }
        }
        let Ok(chunk) = serde_json::from_slice(text) else {
            return self.repair(text, owned);
        };
        let action = self.note(&chunk, text, owned);
        // Only a chunk that is passed on unchanged teaches a shape.
        if matches!(action, EventAction::Keep) {
            self.shape = Shape::of(text, chunk);
        }
        action
    }

    /// Handles a chunk that the JSON parser refuses, or data that is not a chunk.
    fn repair(&mut self, text: &[u8], owned: impl Fn() -> Bytes) -> EventAction {
        let finite = json::with_finite_numbers(text);
        let passed = finite.as_deref().unwrap_or(text);
        // Callers read half characters, so they are passed on.
        if let Ok(chunk) = surrogates::read(passed) {
            return match (self.note(&chunk, passed, owned), &finite) {
                (EventAction::Keep, Some(finite)) => EventAction::Replace(finite.clone()),
                (other, _) => other,
            };
        }
        if ErrorView::read(text).is_some() {
            return self.stop(Problem::Error(owned()));
        }
        self.stop(Problem::Unreadable)
    }

    /// Notes the contents of a chunk.
    fn note(&mut self, chunk: &ChunkView, text: &[u8], owned: impl Fn() -> Bytes) -> EventAction {
        if chunk.is_suspect && ErrorView::read(text).is_some() {
            return self.stop(Problem::Error(owned()));
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage.or(self.usage);
        }
        if self.hides_usage
            && chunk.usage.is_some()
            && chunk.choices.as_ref().is_none_or(Vec::is_empty)
        {
            return EventAction::Drop;
        }
        let Some(choices) = &chunk.choices else {
            // A sign that the server is alive. It is not passed on, because a caller would look for its choices.
            let is_nothing = chunk.is_bare && chunk.usage.is_none();
            return if is_nothing {
                EventAction::Drop
            } else {
                EventAction::Keep
            };
        };
        self.chunks = self.chunks.saturating_add(1);
        let known = self.progress.choices.len();
        if let Err(problem) = self.progress.note(choices) {
            return self.stop(problem);
        }
        let has_begun = self.progress.choices.len() != known;
        let deviates = |choice: &ChoiceView| choice.has_calls || choice.lacks_delta;
        let normal = if choices.iter().any(deviates) {
            self.normal_form.of_chunk(text)
        } else {
            None
        };
        let led = if has_begun {
            with_roles(normal.as_deref().unwrap_or(text))
        } else {
            None
        };
        let replaced = led.or(normal);
        replaced.map_or(EventAction::Keep, EventAction::Replace)
    }

    fn stop(&mut self, problem: Problem) -> EventAction {
        self.problem = Some(problem);
        EventAction::Stop
    }
}

impl Progress {
    fn is_answered(&self) -> bool {
        self.choices.len() >= self.expected && self.choices.iter().all(|choice| choice.ended)
    }

    fn end_all(&mut self) {
        for choice in &mut self.choices {
            choice.ended = true;
        }
        self.expected = self.choices.len();
    }

    fn note(&mut self, choices: &[ChoiceView]) -> Result<(), Problem> {
        for (position, view) in (0..).zip(choices) {
            let index = view.index.unwrap_or(position);
            let known = self.choices.iter().position(|choice| choice.index == index);
            let place = known.unwrap_or(self.choices.len());
            if place >= CHOICES_MAX {
                return Err(Problem::Unreadable);
            }
            if known.is_none() {
                self.choices.push(Choice {
                    index,
                    ended: false,
                    is_unreliable: false,
                });
            }
            let choice = &mut self.choices[place];
            if view.finish == Finish::Failed {
                return Err(Problem::Failed);
            }
            choice.is_unreliable |= choice.ended && view.speaks;
            choice.ended |= view.finish == Finish::Ended;
            choice.ended &= !choice.is_unreliable;
            self.spoke |= view.speaks || choice.ended;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
