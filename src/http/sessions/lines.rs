//! The lines of an import: each is checked, and an error names its number.

use kebne_context::{
    Fact, FactContent, Summary, SummaryContent,
    store::{Details, Turn, TurnContent},
    tokens::Tokenizer,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use super::{
    export::{FORMAT, VERSION},
    metadata, text_or_null,
};
use crate::{state::State, surface::error::ApiError};

/// The longest text of a summary, in bytes.
const SUMMARY_MAX: usize = 512 << 10;
/// The most messages of a turn.
const MESSAGES_MAX: usize = 10_000;

/// A line that was read.
#[derive(Debug)]
pub(super) enum Line {
    Session { from: String, details: Details },
    Turn(Turn),
    Summary(Summary),
    Fact(NewFact),
}

/// A fact of a line.
#[derive(Debug)]
pub(super) struct NewFact(pub(super) Fact);

/// Reads lines in order.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The number of lines that were read.
    count: u64,
    stage: Stage,
    sessions: u64,
    facts: u64,
    /// The number of the last turn, summary and fact of the present session.
    last: (u64, u64, u64),
    facts_max: u64,
    fact_size_max: usize,
    turn_size_max: usize,
    turns_max: u64,
    tokenizer: Tokenizer,
}

/// The place of the last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Empty,
    Begun,
    InSession,
    InNotes,
    Ended,
}

#[derive(Deserialize)]
struct Kind {
    r#type: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FormatLine {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionLine<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    id: String,
    #[serde(default, rename = "created_at")]
    _created_at: IgnoredAny,
    #[serde(default, rename = "last_used_at")]
    _last_used_at: IgnoredAny,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    system_prompt: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnLine<'a> {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    number: u64,
    #[serde(borrow)]
    messages: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SummaryLine {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    through: u64,
    text: String,
    created_at_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactLine {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    id: u64,
    by: By,
    text: String,
    #[serde(default)]
    turns: Vec<u64>,
    created_at_ms: u64,
    changed_at_ms: u64,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum By {
    Owner,
    Model,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    #[serde(rename = "type")]
    _type: IgnoredAny,
    sessions: u64,
}

/// Returns the error of a line.
pub(super) fn wrong(line: u64, what: &str) -> ApiError {
    ApiError::bad_request(Some("line"), format!("line {line}: {what}"))
}

impl Lines {
    pub(super) fn new(state: &State) -> Self {
        let settings = &state.context_settings;
        Self {
            facts_max: settings.memory.facts_max,
            fact_size_max: settings.memory.fact_size_max.as_usize(),
            turn_size_max: settings.turn_size_max.as_usize(),
            turns_max: settings.turns_max,
            tokenizer: settings.tokenizer,
            ..Self::default()
        }
    }

    /// Returns the number of the next line.
    pub(super) fn next_number(&self) -> u64 {
        self.count + 1
    }

    /// Reads whole lines; empty ones are passed over.
    pub(super) fn read(&mut self, lines: &[u8], state: &State) -> Result<Vec<Line>, ApiError> {
        let mut read = Vec::new();
        let mut each = lines.split(|byte| *byte == b'\n').peekable();
        while let Some(line) = each.next() {
            if line.is_empty() && each.peek().is_none() {
                break;
            }
            self.count += 1;
            if !line.trim_ascii().is_empty() {
                let found = self.line(line, state);
                read.extend(found.map_err(|what| wrong(self.count, &what))?);
            }
        }
        Ok(read)
    }

    /// Returns an error if the last line is missing.
    pub(super) fn require_end(&self) -> Result<(), ApiError> {
        if self.stage == Stage::Ended {
            return Ok(());
        }
        let what = "the line with the type `end` is missing, so that the import is not complete";
        Err(wrong(self.next_number(), what))
    }

    fn line(&mut self, line: &[u8], state: &State) -> Result<Option<Line>, String> {
        let kind: Kind = parsed(line)?;
        match (kind.r#type.as_str(), self.stage) {
            (FORMAT, Stage::Empty) => {
                let begin: FormatLine = parsed(line)?;
                if begin.version != VERSION {
                    return Err(format!("`version` must be {VERSION}"));
                }
                self.stage = Stage::Begun;
                Ok(None)
            }
            (_, Stage::Empty) => Err(format!("the first line must have the type `{FORMAT}`")),
            ("session", Stage::Begun | Stage::InSession | Stage::InNotes) => {
                self.stage = Stage::InSession;
                self.sessions += 1;
                (self.last, self.facts) = ((0, 0, 0), 0);
                session(line, self.turn_size_max, state).map(Some)
            }
            ("turn", Stage::InSession) => self.turn(line).map(Some),
            ("summary", Stage::InSession | Stage::InNotes) => self.summary(line).map(Some),
            ("fact", Stage::InSession | Stage::InNotes) => self.fact(line).map(Some),
            ("end", Stage::Begun | Stage::InSession | Stage::InNotes) => {
                let end: EndLine = parsed(line)?;
                if end.sessions != self.sessions {
                    return Err(format!("`sessions` is not {}", self.sessions));
                }
                self.stage = Stage::Ended;
                Ok(None)
            }
            (kind @ (FORMAT | "session" | "turn" | "summary" | "fact" | "end"), _) => {
                Err(format!("a line with the type `{kind}` cannot stand here"))
            }
            _ => Err("`type` must be `session`, `turn`, `summary`, `fact` or `end`".to_owned()),
        }
    }

    fn turn(&mut self, line: &[u8]) -> Result<Line, String> {
        let turn: TurnLine<'_> = parsed(line)?;
        if turn.number <= self.last.0 || turn.number > self.turns_max {
            return Err(format!(
                "`number` must be greater than the one before and at most {} (`context.turns_max`)",
                self.turns_max
            ));
        }
        self.last.0 = turn.number;
        let size_max = self.turn_size_max.saturating_mul(2);
        if turn.messages.get().len() > size_max {
            return Err(format!("`messages` must be at most {size_max} bytes"));
        }
        let messages: Vec<Value> = serde_json::from_str(turn.messages.get())
            .map_err(|_| "`messages` must be a list of messages".to_owned())?;
        if messages.is_empty() || messages.len() > MESSAGES_MAX {
            return Err(format!("`messages` must have 1 to {MESSAGES_MAX} messages"));
        }
        let mut tokens = 0_u64;
        for message in &messages {
            let role = message["role"].as_str().unwrap_or_default();
            if !["user", "assistant", "tool", "function"].contains(&role) {
                return Err(
                    "the `role` of a message must be `user`, `assistant`, `tool` or `function`; instructions \
                     belong in `system_prompt`"
                        .to_owned(),
                );
            }
            tokens = tokens.saturating_add(self.tokenizer.count_message(message));
        }
        let is_result = ["tool", "function"].contains(&messages[0]["role"].as_str().unwrap_or(""));
        Ok(Line::Turn(Turn {
            number: turn.number,
            content: TurnContent {
                tokens,
                leads: !is_result,
                messages: turn.messages.get().to_owned().into(),
            },
        }))
    }

    fn summary(&mut self, line: &[u8]) -> Result<Line, String> {
        self.stage = Stage::InNotes;
        let summary: SummaryLine = parsed(line)?;
        if summary.through <= self.last.1 || summary.through > self.last.0 {
            return Err(
                "`through` must be greater than the one before, and the number of a turn"
                    .to_owned(),
            );
        }
        self.last.1 = summary.through;
        text_of(&summary.text, SUMMARY_MAX)?;
        Ok(Line::Summary(Summary {
            through: summary.through,
            content: SummaryContent {
                tokens: self.tokenizer.count(&summary.text),
                text: summary.text,
                created: summary.created_at_ms,
            },
        }))
    }

    fn fact(&mut self, line: &[u8]) -> Result<Line, String> {
        self.stage = Stage::InNotes;
        let fact: FactLine = parsed(line)?;
        if fact.id <= self.last.2 || fact.id > u64::from(u32::MAX) {
            return Err("`id` must be greater than the one before".to_owned());
        }
        self.last.2 = fact.id;
        self.facts += 1;
        if self.facts > self.facts_max {
            let max = self.facts_max;
            return Err(format!(
                "a session has at most {max} facts (`context.memory.facts_max`)"
            ));
        }
        text_of(&fact.text, self.fact_size_max)?;
        // The turns of a fact that its owner has corrected may have been removed since.
        let last = if fact.by == By::Owner {
            u64::MAX
        } else {
            self.last.0
        };
        let is_turn = |turn: &u64| (1..=last).contains(turn);
        if fact.turns.len() > MESSAGES_MAX || !fact.turns.iter().all(is_turn) {
            return Err("`turns` must be numbers of turns".to_owned());
        }
        Ok(Line::Fact(NewFact(Fact {
            number: fact.id,
            is_owners: fact.by == By::Owner,
            content: FactContent {
                tokens: self.tokenizer.count(&fact.text),
                text: fact.text,
                turns: fact.turns,
                created: fact.created_at_ms,
                changed: fact.changed_at_ms,
            },
        })))
    }
}

fn session(line: &[u8], size_max: usize, state: &State) -> Result<Line, String> {
    let line: SessionLine<'_> = parsed(line)?;
    let message = |error: ApiError| error.message().to_owned();
    let text = |key, raw: Option<&RawValue>| {
        let text = raw.map(|raw| text_or_null(key, raw, size_max)).transpose();
        text.map(Option::flatten).map_err(message)
    };
    let details = Details {
        metadata: line
            .metadata
            .map(metadata)
            .transpose()
            .map_err(message)?
            .unwrap_or_default(),
        system_prompt: text("system_prompt", line.system_prompt)?,
        prompt: text("prompt", line.prompt)?,
        routing: None,
    };
    if let Some(prompt) = details.prompt.as_ref()
        && !state.prompts.get().has(prompt)
    {
        return Err(format!("there is no prompt `{prompt}`"));
    }
    let from = line.id;
    if from.len() > 256 {
        return Err("`id` must be at most 256 bytes".to_owned());
    }
    Ok(Line::Session { from, details })
}

fn text_of(text: &str, size_max: usize) -> Result<(), String> {
    if text.trim().is_empty() || text.len() > size_max {
        return Err(format!("`text` must be a text of 1 to {size_max} bytes"));
    }
    Ok(())
}

fn parsed<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    // The parser would accept a list as the fields in order.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("it is not a JSON object".to_owned());
    }
    // The number of the line is that of the import.
    serde_json::from_slice(line)
        .map_err(|error| error.to_string().replace(" at line 1 column", " at column"))
}
