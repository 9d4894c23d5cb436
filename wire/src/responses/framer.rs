//! Reads the stream of a response from a backend that speaks this API, and passes its events on as they come.
//!
//! A response is complete when `response.completed` or `response.incomplete` comes; everything else is a loss, and
//! `response.failed` and `error` report one. `id:` and `retry:` lines and comments are removed.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    error::ErrorView,
    framing::{Framing, error_at_end},
    json,
    sse::{Event, Splitter, events, write},
    stream::Problem,
    usage::Usage,
};

#[derive(Deserialize)]
struct EventView<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    response: Option<ResponseView>,
}

#[derive(Deserialize)]
struct ResponseView {
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

/// The part of a response that has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Nothing,
    Begun,
    Speaking,
    Done,
}

/// Reads one stream.
#[derive(Debug)]
pub struct ResponseFramer {
    splitter: Splitter,
    event_size_max: usize,
    stage: Stage,
    usage: Usage,
    /// Deltas, about one token each.
    deltas: u64,
    problem: Option<Problem>,
}

impl ResponseFramer {
    /// Creates a framer for events of at most `event_size_max` bytes.
    pub fn new(event_size_max: usize) -> Self {
        Self {
            splitter: Splitter::new(event_size_max),
            event_size_max,
            stage: Stage::Nothing,
            usage: Usage::default(),
            deltas: 0,
            problem: None,
        }
    }

    /// Reads one event; returns `true` if it is passed on.
    fn note(&mut self, event: &Event<'_>) -> Result<bool, Problem> {
        if event.span.len() > self.event_size_max {
            return Err(Problem::TooLarge);
        }
        if let Some(stray) = event.stray
            && ErrorView::read(stray).is_some()
        {
            return Err(Problem::Error(Bytes::copy_from_slice(stray)));
        }
        let data = event.data.as_deref().unwrap_or_default().trim_ascii();
        if data.is_empty() {
            return Ok(false);
        }
        let error = || Problem::Error(Bytes::copy_from_slice(data));
        if event.name == Some(b"error") {
            return Err(error());
        }
        let Ok(view) = serde_json::from_slice::<EventView<'_>>(data) else {
            // Some servers end every stream as a chat ends.
            return match ErrorView::read(data) {
                Some(_) => Err(error()),
                None if data == b"[DONE]" => Ok(false),
                None => Err(Problem::Unreadable),
            };
        };
        let kind = view.kind.as_deref().unwrap_or_default();
        if kind.is_empty() && ErrorView::read(data).is_some() {
            return Err(error());
        }
        self.advance(kind, view.response, error)
    }

    fn advance(
        &mut self,
        kind: &str,
        response: Option<ResponseView>,
        error: impl Fn() -> Problem,
    ) -> Result<bool, Problem> {
        let stage = match kind {
            "error" => return Err(error()),
            "response.failed" => {
                let cause = response.and_then(|response| response.error);
                let cause = json!({"error": cause.unwrap_or_default()});
                return Err(Problem::Error(cause.to_string().into()));
            }
            "response.created" | "response.queued" | "response.in_progress" => Stage::Begun,
            _ if self.stage == Stage::Nothing => return Err(Problem::Unreadable),
            "response.completed" | "response.incomplete" => Stage::Done,
            _ => Stage::Speaking,
        };
        self.stage = self.stage.max(stage);
        if kind.rsplit('.').next() == Some("delta") {
            self.deltas += 1;
        }
        if let Some(usage) = response.and_then(|response| response.usage) {
            self.usage = usage.or(self.usage);
        }
        Ok(true)
    }
}

impl Framing for ResponseFramer {
    fn push(&mut self, chunk: Bytes) -> Option<Bytes> {
        if self.is_done() || self.problem.is_some() {
            return None;
        }
        let Ok(lines) = self.splitter.push(chunk) else {
            self.problem = Some(Problem::TooLarge);
            return None;
        };
        let lines = json::as_utf8(lines?);
        let mut passed = BytesMut::new();
        for event in events(&lines) {
            match self.note(&event) {
                Ok(true) => write(
                    event.name,
                    event.data.as_deref().unwrap_or_default(),
                    &mut passed,
                ),
                Ok(false) => {}
                Err(problem) => self.problem = Some(problem),
            }
            if self.is_done() || self.problem.is_some() {
                break;
            }
        }
        Some(passed.freeze()).filter(|passed| !passed.is_empty())
    }

    fn end(&mut self) -> Option<Bytes> {
        let rest = self.splitter.take_incomplete();
        if self.is_done() || self.problem.is_some() {
            return None;
        }
        self.problem = error_at_end(&rest);
        None
    }

    fn pending(&self) -> usize {
        self.splitter.pending()
    }

    fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    fn has_spoken(&self) -> bool {
        self.stage >= Stage::Speaking
    }

    fn tokens(&self) -> u32 {
        let tokens = self.usage.output.unwrap_or(self.deltas);
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}
