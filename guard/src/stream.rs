//! Checks the events of a streamed answer. An event waits until its texts are decided, so that a match may span events.
//!
//! All events are passed on in their order, each with its own part of the text, so the form of the stream is that of its
//! dialect. Each member of each choice is a text of its own, whatever comes between its pieces. Of a plain text no more is held back than could belong to a match; the arguments of a tool call are held back
//! until they are complete, because only then are they JSON.

mod channel;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use bytes::{Bytes, BytesMut};
use kebne_wire::{
    sse::{events, write},
    texts::{self, Delta, Ends, EventTexts, Form, Replacement},
};

use crate::rules::{Edit, Hits, Refused, Rules};

use channel::Channel;

/// The most bytes of events that are held back. Only the arguments of a tool call can reach it.
const HELD_SIZE_MAX: usize = 1 << 20;
/// The most running texts of a stream.
const CHANNELS_MAX: usize = 4096;

/// The reason why a stream must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A rule refuses it.
    Refused(Refused),
    /// It cannot be read, or the arguments of a tool call are too large to be held back.
    Unreadable,
}

/// What may be passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Complete events.
    pub events: Bytes,
    /// The texts in them, by the names of the running texts.
    pub texts: BTreeMap<String, String>,
    /// Why nothing follows.
    pub stopped: Option<Stopped>,
}

/// A piece of a running text in an event that is held back.
#[derive(Debug)]
struct Piece {
    name: String,
    /// Its position in the running text.
    range: Range<usize>,
    /// Its position in the data of the event, and its text.
    span: Range<usize>,
    value: String,
}

#[derive(Debug)]
struct Held {
    event: Bytes,
    name: Option<Vec<u8>>,
    data: Bytes,
    pieces: Vec<Piece>,
    /// The changes of values that are no pieces.
    edits: Vec<Edit>,
}

/// Checks one stream.
#[derive(Debug)]
pub struct StreamGuard {
    rules: Rules,
    channels: BTreeMap<String, Channel>,
    held: VecDeque<Held>,
    held_size: usize,
    hits: Hits,
    stopped: Option<Stopped>,
}

impl StreamGuard {
    /// Creates the check of a stream.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            channels: BTreeMap::new(),
            held: VecDeque::new(),
            held_size: 0,
            hits: Hits::new(),
            stopped: None,
        }
    }

    /// Returns what has been found since the last call.
    pub fn take_hits(&mut self) -> Hits {
        std::mem::take(&mut self.hits)
    }

    /// Takes complete events.
    pub fn push(&mut self, lines: &Bytes) -> Released {
        for event in events(lines) {
            if self.stopped.is_some() {
                break;
            }
            let whole = lines.slice(event.span.clone());
            let data = match &event.data {
                Some(std::borrow::Cow::Borrowed(data)) => lines.slice_ref(data),
                Some(std::borrow::Cow::Owned(data)) => Bytes::copy_from_slice(data),
                None => Bytes::new(),
            };
            if let Err(stopped) = self.take(whole, event.name, data) {
                self.stopped = Some(stopped);
            }
        }
        self.release()
    }

    /// Takes the end of the stream: nothing that is held back can go on.
    pub fn end(&mut self) -> Released {
        if self.stopped.is_none()
            && let Err(stopped) = self.end_runs(|_, _| true)
        {
            self.stopped = Some(stopped);
        }
        self.release()
    }

    fn take(&mut self, event: Bytes, name: Option<&[u8]>, data: Bytes) -> Result<(), Stopped> {
        let mut held = Held {
            event,
            name: name.map(<[u8]>::to_vec),
            data,
            pieces: Vec::new(),
            edits: Vec::new(),
        };
        let data = held.data.trim_ascii();
        if data == b"[DONE]" {
            self.end_runs(|_, _| true)?;
        } else if !data.is_empty() {
            let texts = texts::of_event(&held.data).map_err(|_| Stopped::Unreadable)?;
            self.take_texts(&mut held, texts)?;
        }
        self.held_size += held.event.len();
        self.held.push_back(held);
        if self.held_size > HELD_SIZE_MAX && self.rules.can_change() {
            return Err(Stopped::Unreadable);
        }
        Ok(())
    }

    fn take_texts(&mut self, held: &mut Held, texts: EventTexts) -> Result<(), Stopped> {
        let edits = self.rules.edits(&texts.wholes, &mut self.hits);
        held.edits = edits.map_err(Stopped::Refused)?;
        if self.rules.can_change() {
            let blank = texts::probabilities(&held.data).into_iter();
            held.edits
                .extend(blank.map(|span| (span, Replacement::Null)));
        }
        let is_plain = |delta: &&Delta| delta.text.form == Form::Plain;
        let plain = texts.deltas.iter().filter(is_plain);
        let plain: Vec<(String, usize)> = plain
            .map(|delta| (delta.group.clone(), delta.text.value.len()))
            .collect();
        for delta in texts.deltas {
            self.take_delta(held, delta)?;
        }
        self.pause(held, &plain);
        let own = |name: &str| held.pieces.iter().any(|piece| piece.name == name);
        match texts.ends {
            Ends::Nothing => Ok(()),
            Ends::Groups(groups) => self.end_runs(|_, channel| groups.contains(&channel.group)),
            Ends::Others => self.end_runs(|name, _| !own(name)),
        }
    }

    /// Tells the texts that this event does not continue how much it contains of others: groups and sizes.
    fn pause(&mut self, held: &Held, plain: &[(String, usize)]) {
        for (name, channel) in &mut self.channels {
            if held.pieces.iter().all(|piece| piece.name != *name) {
                let others = plain.iter().filter(|(group, _)| *group == channel.group);
                let (pieces, sizes): (Vec<_>, Vec<_>) = others.cloned().unzip();
                channel.pause(pieces.len(), sizes.into_iter().sum());
            }
        }
    }

    fn take_delta(&mut self, held: &mut Held, delta: Delta) -> Result<(), Stopped> {
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(&delta.name) {
            return Err(Stopped::Unreadable);
        }
        let channel = self.channels.entry(delta.name.clone());
        let channel = channel.or_insert_with(|| Channel::new(delta.group, delta.text.form));
        let range = channel.feed(&self.rules, &delta.text.value, &mut self.hits);
        held.pieces.push(Piece {
            name: delta.name,
            range,
            span: delta.text.span,
            value: delta.text.value,
        });
        if channel.json_size() > HELD_SIZE_MAX {
            return Err(Stopped::Unreadable);
        }
        let refused = channel.refused().map(Stopped::Refused);
        refused.map_or(Ok(()), Err)
    }

    /// Ends running texts. A text with the same name that follows is another one.
    fn end_runs(&mut self, ends: impl Fn(&str, &Channel) -> bool) -> Result<(), Stopped> {
        for (name, channel) in &mut self.channels {
            if !ends(name, channel) {
                continue;
            }
            channel.end(&self.rules, &mut self.hits);
            if let Some(refused) = channel.refused() {
                return Err(Stopped::Refused(refused));
            }
        }
        Ok(())
    }

    /// Returns the events whose texts are decided.
    fn release(&mut self) -> Released {
        let mut released = Released::default();
        let mut out = BytesMut::new();
        let passes_all = !self.rules.can_change();
        while let Some(held) = self.held.front() {
            let is_decided = |piece: &Piece| {
                let channel = self.channels.get(&piece.name);
                channel.is_none_or(|channel| piece.range.end <= channel.decided())
            };
            if !passes_all && !held.pieces.iter().all(is_decided) {
                break;
            }
            let Some(held) = self.held.pop_front() else {
                break;
            };
            self.held_size -= held.event.len();
            self.render(held, &mut out, &mut released.texts);
        }
        released.events = out.freeze();
        released.stopped.clone_from(&self.stopped);
        released
    }

    fn render(&mut self, held: Held, out: &mut BytesMut, texts: &mut BTreeMap<String, String>) {
        let mut edits = held.edits;
        for piece in held.pieces {
            let Some(channel) = self.channels.get_mut(&piece.name) else {
                continue;
            };
            let edited = channel.edited(&piece.range, &piece.value);
            let text = texts.entry(piece.name).or_default();
            text.push_str(edited.as_ref().unwrap_or(&piece.value));
            edits.extend(edited.map(|edited| (piece.span, Replacement::Text(edited))));
        }
        if edits.is_empty() {
            out.extend_from_slice(&held.event);
            return;
        }
        edits.sort_by_key(|(span, _)| span.start);
        let data = texts::replaced(&held.data, &edits);
        write(held.name.as_deref(), &data, out);
    }
}

#[cfg(test)]
mod tests;
