//! The tool calls of one answer, distinguished whatever numbering a server uses.

use serde_json::{Map, Value};

use crate::translate::{
    BadAnswer,
    chat_reader::{Piece, text_of},
};

/// The number of tool calls of one answer; an answer with more is refused.
const CALLS_MAX: usize = 256;
/// Bytes of arguments that are held while a call has no name.
const HELD_SIZE_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    /// Empty until the server has sent it.
    name: String,
    /// The place of the call among those that have begun; `None` while its name is unknown.
    slot: Option<usize>,
    /// Arguments that arrived before the name.
    held: String,
}

/// All calls so far, in the order in which they were first mentioned.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    begun: usize,
}

/// One part of a call.
struct Part {
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    /// Returns `true` if a call has begun.
    pub(super) fn have_begun(&self) -> bool {
        self.begun > 0
    }

    /// Checks that every call has a name.
    pub(super) fn check_names(&self) -> Result<(), BadAnswer> {
        if self.calls.iter().all(|call| call.slot.is_some()) {
            return Ok(());
        }
        Err(BadAnswer::Lacks("tool_calls[].function.name"))
    }

    /// Reads an element of `tool_calls`. A call without an id gets one derived from the answer's.
    pub(super) fn read(
        &mut self,
        call: Value,
        answer_id: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), BadAnswer> {
        let Value::Object(mut call) = call else {
            return Err(BadAnswer::Lacks("tool_calls[]"));
        };
        let index = call.get("index").and_then(Value::as_u64);
        let id = call.shift_remove("id").and_then(text_of);
        let mut function = match call.shift_remove("function") {
            Some(Value::Object(function)) => function,
            _ => Map::new(),
        };
        let name = function.shift_remove("name").and_then(text_of);
        let arguments = match function.shift_remove("arguments") {
            Some(Value::String(text)) => text,
            None | Some(Value::Null) => String::new(),
            Some(value) => value.to_string(),
        };
        let part = Part {
            id: id.unwrap_or_default(),
            name: name.unwrap_or_default(),
            arguments,
        };
        let place = match self.place(index, &part) {
            Some(place) => place,
            None if self.calls.len() >= CALLS_MAX => {
                return Err(BadAnswer::Contradicts("tool_calls[].index"));
            }
            None => {
                self.calls.push(Call {
                    index,
                    ..Call::default()
                });
                self.calls.len() - 1
            }
        };
        let begun = self.begun;
        if let Some(call) = self.calls.get_mut(place)
            && call.add(part, begun, answer_id, pieces)?
        {
            self.begun += 1;
        }
        Ok(())
    }

    /// Returns the call of a part; `None` if the part begins a new call.
    fn place(&self, index: Option<u64>, part: &Part) -> Option<usize> {
        let known = |call: &Call| match index {
            Some(_) => call.index == index,
            None => part.id.is_empty() || call.id == part.id,
        };
        let place = self.calls.iter().rposition(known)?;
        let call = &self.calls[place];
        // Some servers give each whole call the same index, or none. A different id or a second name means another
        // call.
        let is_named = !part.name.is_empty();
        let other_id = !part.id.is_empty() && !call.id.is_empty() && call.id != part.id;
        let second_name = index.is_none() && part.id.is_empty() && call.slot.is_some();
        let is_other = is_named && (other_id || second_name);
        (!is_other).then_some(place)
    }
}

impl Call {
    /// Adds a part. Returns `true` if the call begins with it, at the given slot.
    fn add(
        &mut self,
        part: Part,
        next_slot: usize,
        answer_id: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<bool, BadAnswer> {
        if self.id.is_empty() {
            self.id = part.id;
        }
        if self.name.is_empty() {
            self.name = part.name;
        }
        if let Some(slot) = self.slot {
            push_arguments(slot, part.arguments, pieces);
            return Ok(false);
        }
        self.held.push_str(&part.arguments);
        if self.held.len() > HELD_SIZE_MAX {
            return Err(BadAnswer::TooLarge(HELD_SIZE_MAX));
        }
        if self.name.is_empty() {
            return Ok(false);
        }
        self.slot = Some(next_slot);
        if self.id.is_empty() {
            self.id = format!("call_{answer_id}_{next_slot}");
        }
        pieces.push(Piece::Call {
            slot: next_slot,
            id: self.id.clone(),
            name: self.name.clone(),
        });
        push_arguments(next_slot, std::mem::take(&mut self.held), pieces);
        Ok(true)
    }
}

fn push_arguments(slot: usize, text: String, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        pieces.push(Piece::Arguments { slot, text });
    }
}
