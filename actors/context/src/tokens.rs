//! Counts the tokens of messages, with the tokenizers that `OpenAI`'s models use.
//!
//! For other models the counts differ by about ten percent; the budget bounds the cost and need not be exact. The
//! tables are loaded when the first session is used, so a gateway without sessions does not need their memory.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tiktoken_rs::CoreBPE;

/// The overhead of each message in tokens (`OpenAI`'s cookbook, "how to count tokens with tiktoken").
const TOKENS_PER_MESSAGE: u64 = 4;
/// The tokens assumed for a part that is not text, such as an image or a sound. An image costs 85 tokens in low detail
/// and more than a thousand in high detail with `OpenAI`'s models.
const TOKENS_PER_OTHER_PART: u64 = 512;
/// The size in bytes of the pieces in which text is counted, because a single word of megabytes would take too long.
/// Each cut may count one token too many.
const PIECE_SIZE: usize = 16 * 1024;

/// A tokenizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// The tokenizer of GPT-4o and later models.
    #[default]
    O200kBase,
    /// The tokenizer of GPT-4 and GPT-3.5.
    Cl100kBase,
}

impl Tokenizer {
    /// Counts the tokens of a text. The first count in a process takes a few tenths of a second, because it loads the
    /// table.
    pub fn count(self, text: &str) -> u64 {
        let bpe: &CoreBPE = match self {
            Self::O200kBase => tiktoken_rs::o200k_base_singleton(),
            Self::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
        };
        pieces(text)
            .map(|piece| bpe.count_ordinary(piece) as u64)
            .sum()
    }

    /// Counts the tokens of a chat message, given as JSON.
    pub fn count_message(self, message: &Value) -> u64 {
        let content = match message.get("content") {
            Some(Value::String(text)) => self.count(text),
            Some(Value::Array(parts)) => parts.iter().map(|part| self.count_part(part)).sum(),
            _ => 0,
        };
        let calls = ["tool_calls", "function_call"]
            .iter()
            .filter_map(|key| message.get(key))
            .map(|calls| self.count(&calls.to_string()))
            .sum::<u64>();
        TOKENS_PER_MESSAGE + content + calls
    }

    fn count_part(self, part: &Value) -> u64 {
        let text = part.get("text").or_else(|| part.get("refusal"));
        match text.and_then(Value::as_str) {
            Some(text) => self.count(text),
            None => TOKENS_PER_OTHER_PART,
        }
    }
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_SIZE));
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_counted_as_the_tokenizers_cut_it() {
        // The values are those of OpenAI's own `tiktoken`.
        assert_eq!(Tokenizer::Cl100kBase.count("tiktoken is great!"), 6);
        assert_eq!(Tokenizer::O200kBase.count("tiktoken is great!"), 6);
        assert_eq!(Tokenizer::O200kBase.count(""), 0);
    }

    #[test]
    fn a_message_costs_its_frame_its_text_and_its_calls() {
        let count = |message| Tokenizer::O200kBase.count_message(&message);
        let empty = count(json!({"role": "user", "content": ""}));
        assert_eq!(empty, TOKENS_PER_MESSAGE);
        let text = count(json!({"role": "user", "content": "tiktoken is great!"}));
        assert_eq!(text, empty + 6);
        let parts = json!([{"type": "text", "text": "tiktoken is great!"}, {"type": "image_url"}]);
        let parts = count(json!({"role": "user", "content": parts}));
        assert_eq!(parts, text + TOKENS_PER_OTHER_PART);
        let call = json!([{"id": "1", "function": {"name": "f", "arguments": "{}"}}]);
        assert!(count(json!({"role": "assistant", "tool_calls": call})) > empty + 5);
    }

    #[test]
    fn one_endless_word_is_counted_in_bounded_pieces() {
        let word = "ä".repeat(PIECE_SIZE);
        assert!(pieces(&word).all(|piece| piece.len() <= PIECE_SIZE));
        assert_eq!(pieces(&word).collect::<String>(), word);
        assert!(Tokenizer::O200kBase.count(&word) > 0);
    }
}
