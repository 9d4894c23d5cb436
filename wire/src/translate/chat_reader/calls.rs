//! The tool calls of one answer, as pieces.
//!
//! A call begins with its whole name. Servers may send a name in parts, so a call begins when its arguments arrive,
//! when another call is mentioned, or when the answer ends.

use serde_json::{Map, Value};

use crate::{
    tool_calls::{Part, ToolCalls, returned},
    translate::{BadAnswer, chat_reader::Piece},
};

/// Bytes of arguments that are held while a call has no name.
const HELD_SIZE_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
struct Call {
    id: String,
    /// Empty until the server has sent it.
    name: String,
    /// The place of the call among those that have begun; `None` until it has.
    slot: Option<usize>,
    /// Arguments that arrived before the name.
    held: String,
    returned: Map<String, Value>,
}

/// All calls so far, in the order in which they were first mentioned.
#[derive(Debug, Default)]
pub(super) struct Calls {
    places: ToolCalls,
    list: Vec<Call>,
    begun: usize,
}

impl Calls {
    /// Returns `true` if the answer has a call.
    pub(super) fn are_any(&self) -> bool {
        !self.list.is_empty()
    }

    /// Checks that every call has a name.
    pub(super) fn check_names(&self) -> Result<(), BadAnswer> {
        if self.list.iter().all(|call| !call.name.is_empty()) {
            return Ok(());
        }
        Err(BadAnswer::Lacks("tool_calls[].function.name"))
    }

    /// Reads an element of `tool_calls`; in a whole answer each is a call. A call without an id gets one derived from
    /// the answer's.
    pub(super) fn read(
        &mut self,
        call: &Value,
        is_whole: bool,
        answer_id: &str,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), BadAnswer> {
        let Some(members) = call.as_object() else {
            return Err(BadAnswer::Lacks("tool_calls[]"));
        };
        let part = Part::of(call);
        let place = if is_whole {
            self.places.next(&part)
        } else {
            self.places.place(&part)
        };
        let place = place.ok_or(BadAnswer::Contradicts("tool_calls[].index"))?;
        if place == self.list.len() {
            self.begin_all(answer_id, pieces);
            self.list.push(Call::default());
        }
        let call = &mut self.list[place];
        if call.id.is_empty() {
            part.id.clone_into(&mut call.id);
        }
        if let Some(slot) = call.slot {
            push_arguments(slot, part.arguments.into_owned(), pieces);
            return Ok(());
        }
        call.returned.extend(returned(members));
        if call.name != part.name {
            call.name.push_str(part.name);
        }
        call.held.push_str(&part.arguments);
        if call.held.len() > HELD_SIZE_MAX {
            return Err(BadAnswer::TooLarge(HELD_SIZE_MAX));
        }
        if !call.held.is_empty() {
            self.begin(place, answer_id, pieces);
        }
        Ok(())
    }

    /// Begins all calls that have a name.
    pub(super) fn begin_all(&mut self, answer_id: &str, pieces: &mut Vec<Piece>) {
        for place in 0..self.list.len() {
            self.begin(place, answer_id, pieces);
        }
    }

    /// Begins a call, unless it has begun or has no name.
    fn begin(&mut self, place: usize, answer_id: &str, pieces: &mut Vec<Piece>) {
        let slot = self.begun;
        let ids = self.list.iter().enumerate();
        let mut ids = ids.filter(|(other, call)| *other != place && call.slot.is_some());
        let is_taken = ids.any(|(_, other)| other.id == self.list[place].id);
        let call = &mut self.list[place];
        if call.slot.is_some() || call.name.is_empty() {
            return;
        }
        if call.id.is_empty() || is_taken {
            call.id = format!("call_{answer_id}_{slot}");
        }
        call.slot = Some(slot);
        self.begun += 1;
        pieces.push(Piece::Call {
            slot,
            id: call.id.clone(),
            name: call.name.clone(),
            returned: std::mem::take(&mut call.returned),
        });
        push_arguments(slot, std::mem::take(&mut call.held), pieces);
    }
}

fn push_arguments(slot: usize, text: String, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        pieces.push(Piece::Arguments { slot, text });
    }
}
