//! Chat chunks as the events of a Messages stream.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::{
    anthropic::{
        message::{MessageContext, set_stop, tool_use},
        stop_reason::Stop,
        usage,
    },
    translate::{BadAnswer, ChatReader, JsonDepth, Piece},
};

/// The content of an open block.
#[derive(Debug)]
enum Kind {
    Thinking,
    Text,
    /// A tool call; the brackets of its arguments show when they are complete.
    Tool {
        slot: usize,
        depth: JsonDepth,
    },
}

#[derive(Debug)]
struct Block {
    index: usize,
    kind: Kind,
}

/// Bytes of pieces that wait until the block before them is complete.
const WAITING_SIZE_MAX: usize = 1 << 20;

/// Writes a Messages stream from the chunks of a chat stream: `message_start`, `ping`, the content blocks, then
/// `message_delta` and `message_stop`.
///
/// A block is closed before the next one begins, as in Anthropic's streams. If a server sends parts of several tool
/// calls by turns, the parts of the later calls wait until the arguments of the first are complete.
#[derive(Debug)]
pub struct EventWriter {
    context: MessageContext,
    reader: ChatReader,
    has_begun: bool,
    has_ended: bool,
    refused: bool,
    open: Option<Block>,
    waiting: Vec<Piece>,
    waiting_size: usize,
    next_index: usize,
}

impl EventWriter {
    /// Creates a writer that has not written anything.
    pub fn new(context: MessageContext) -> Self {
        Self {
            context,
            reader: ChatReader::default(),
            has_begun: false,
            has_ended: false,
            refused: false,
            open: None,
            waiting: Vec::new(),
            waiting_size: 0,
            next_index: 0,
        }
    }

    /// Translates the data of one chat event, including `[DONE]`, and appends the events to `out`.
    ///
    /// # Errors
    /// Returns an error if the data is not a chat chunk or reports an error, or if the stream ends before the answer
    /// is complete. After an error, the caller ends the stream with [`error_event`](crate::anthropic::error_event).
    pub fn data(&mut self, data: &[u8], out: &mut String) -> Result<(), BadAnswer> {
        if data.trim_ascii() == b"[DONE]" {
            for piece in self.reader.done() {
                self.piece(piece, out)?;
            }
            return self.end(out);
        }
        let chunk = self.reader.parse(data)?;
        let pieces = self.reader.chunk(chunk)?;
        if !self.has_begun {
            self.begin(out);
        }
        for piece in pieces {
            self.piece(piece, out)?;
        }
        Ok(())
    }

    /// Writes the end of the message, unless it is already written.
    ///
    /// # Errors
    /// Returns an error if the backend has not sent a finish reason.
    pub fn end(&mut self, out: &mut String) -> Result<(), BadAnswer> {
        if self.has_ended {
            return Ok(());
        }
        self.reader.end()?;
        self.has_ended = true;
        if !self.has_begun {
            self.begin(out);
        }
        self.close(out);
        while !self.waiting.is_empty() {
            self.resume(out)?;
            self.close(out);
        }
        let end = Stop::of_chat(&self.reader, self.refused, &self.context.stop_sequences);
        let mut delta = std::mem::take(&mut self.reader.other);
        set_stop(&mut delta, &end);
        let usage = usage::of_chat(self.reader.usage.as_ref());
        event(
            "message_delta",
            &json!({"type": "message_delta", "delta": delta, "usage": usage}),
            out,
        );
        event("message_stop", &json!({"type": "message_stop"}), out);
        Ok(())
    }

    /// Returns the event that keeps an idle connection alive.
    pub fn ping() -> &'static str {
        "event: ping\ndata: {\"type\": \"ping\"}\n\n"
    }

    fn begin(&mut self, out: &mut String) {
        self.has_begun = true;
        let mut message = self.context.empty_message(&self.reader);
        // The counts are known only at the end; those of `message_delta` replace these.
        message.insert("usage".to_owned(), usage::of_chat(None).into());
        event(
            "message_start",
            &json!({"type": "message_start", "message": message}),
            out,
        );
        out.push_str(Self::ping());
    }

    fn piece(&mut self, piece: Piece, out: &mut String) -> Result<(), BadAnswer> {
        if self.must_wait(&piece) {
            self.waiting_size = self.waiting_size.saturating_add(piece.size());
            if self.waiting_size > WAITING_SIZE_MAX {
                return Err(BadAnswer::TooLarge(WAITING_SIZE_MAX));
            }
            self.waiting.push(piece);
            return Ok(());
        }
        self.write(piece, out)?;
        self.resume(out)
    }

    /// Returns `true` if a call whose arguments are incomplete, or an earlier piece, comes before the piece.
    fn must_wait(&self, piece: &Piece) -> bool {
        match self.open.as_ref().map(|open| &open.kind) {
            Some(Kind::Tool { slot, depth }) if !depth.is_complete() => {
                !matches!(piece, Piece::Arguments { slot: own, .. } if own == slot)
            }
            _ => !self.waiting.is_empty(),
        }
    }

    /// Writes the waiting pieces that no longer have to wait.
    fn resume(&mut self, out: &mut String) -> Result<(), BadAnswer> {
        let is_blocked = |open: Option<&Block>| {
            open.is_some_and(
                |open| matches!(&open.kind, Kind::Tool { depth, .. } if !depth.is_complete()),
            )
        };
        while !self.waiting.is_empty() && !is_blocked(self.open.as_ref()) {
            self.waiting_size = 0;
            for piece in std::mem::take(&mut self.waiting) {
                if self.must_wait(&piece) {
                    self.waiting_size = self.waiting_size.saturating_add(piece.size());
                    self.waiting.push(piece);
                } else {
                    self.write(piece, out)?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, piece: Piece, out: &mut String) -> Result<(), BadAnswer> {
        match piece {
            Piece::Reasoning(text) => {
                let empty = json!({"type": "thinking", "thinking": "", "signature": ""});
                let index = self.current(|kind| matches!(kind, Kind::Thinking));
                let index = index.unwrap_or_else(|| self.start(Kind::Thinking, &empty, out));
                delta(
                    index,
                    &json!({"type": "thinking_delta", "thinking": text}),
                    out,
                );
            }
            Piece::Refusal(text) => {
                self.refused = true;
                self.text(&text, out);
            }
            Piece::Text { text, .. } => self.text(&text, out),
            Piece::Call {
                slot,
                id,
                name,
                returned,
            } => {
                let depth = JsonDepth::default();
                let block = tool_use(&id, &name, returned);
                self.start(Kind::Tool { slot, depth }, &block, out);
            }
            Piece::Arguments { slot, text } => self.arguments(slot, &text, out)?,
        }
        Ok(())
    }

    fn text(&mut self, text: &str, out: &mut String) {
        let empty = json!({"type": "text", "text": "", "citations": null});
        let index = self.current(|kind| matches!(kind, Kind::Text));
        let index = index.unwrap_or_else(|| self.start(Kind::Text, &empty, out));
        delta(index, &json!({"type": "text_delta", "text": text}), out);
    }

    fn arguments(&mut self, slot: usize, text: &str, out: &mut String) -> Result<(), BadAnswer> {
        if let Some(Block {
            index,
            kind: Kind::Tool { slot: own, depth },
        }) = &mut self.open
            && *own == slot
        {
            depth.push(text);
            let json = json!({"type": "input_json_delta", "partial_json": text});
            delta(*index, &json, out);
            return Ok(());
        }
        // The block was closed because its arguments were complete, so only white space can follow.
        if text.trim().is_empty() {
            return Ok(());
        }
        Err(BadAnswer::Contradicts("tool_calls[].function.arguments"))
    }

    /// Returns the index of the open block if it is of this kind.
    fn current(&self, is_kind: impl Fn(&Kind) -> bool) -> Option<usize> {
        let block = self.open.as_ref()?;
        is_kind(&block.kind).then_some(block.index)
    }

    /// Closes the open block and opens a new one.
    fn start(&mut self, kind: Kind, content: &Value, out: &mut String) -> usize {
        self.close(out);
        let index = self.next_index;
        self.next_index += 1;
        self.open = Some(Block { index, kind });
        let start = json!({
            "type": "content_block_start", "index": index, "content_block": content,
        });
        event("content_block_start", &start, out);
        index
    }

    fn close(&mut self, out: &mut String) {
        if let Some(block) = self.open.take() {
            let stop = json!({"type": "content_block_stop", "index": block.index});
            event("content_block_stop", &stop, out);
        }
    }
}

fn delta(index: usize, delta: &Value, out: &mut String) {
    let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
    event("content_block_delta", &delta, out);
}

/// Appends one server-sent event.
fn event(name: &str, data: &Value, out: &mut String) {
    let written = write!(out, "event: {name}\ndata: {data}\n\n");
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests;
