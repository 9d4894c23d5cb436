//! The images, sounds, files and videos in a request: their kinds, and their estimated cost in tokens.
//!
//! Parts are passed on unchanged. The result is used only to choose a backend and to estimate tokens, because inline
//! data must not count as text. Parts that cannot be read are left for the backend to check.

use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Tokens of an image of low detail, and of a square of 1024 pixels, by `OpenAI`'s rule (85, and 170 per tile of 512).
const IMAGE_TOKENS: (u64, u64) = (85, 765);
/// Tokens of a second of sound.
const SOUND_TOKENS: u64 = 10;
/// Bytes of a second of sound: 16 bits at 16 kHz, and compressed at 64 kbit/s.
const SOUND_BYTES: (u64, u64) = (32_000, 8_000);
/// Tokens of a page of a document (image and text), and its size in bytes.
const PAGE: (u64, u64) = (1_265, 100_000);
/// Tokens of a second of video by Gemini's rule, and its size in bytes at 2 Mbit/s.
const VIDEO: (u64, u64) = (258, 250_000);

/// Searches for the words without which a body has no such parts.
static WORDS: LazyLock<[memmem::Finder<'static>; 5]> = LazyLock::new(|| {
    let words = ["\"image", "\"input_", "\"file\"", "\"document\"", "\"video"];
    words.map(memmem::Finder::new)
});

/// A kind of input besides text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// An image.
    Image,
    /// A sound.
    Audio,
    /// A document.
    File,
    /// A video.
    Video,
}

impl Input {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Image, Self::Audio, Self::File, Self::Video];

    /// Returns the name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::File => "file",
            Self::Video => "video",
        }
    }
}

/// The inputs of one request that are not text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    kinds: [bool; 4],
    /// Bytes of the parts that are not text.
    pub size: usize,
    /// Tokens that these parts count as.
    pub tokens: u32,
}

impl Inputs {
    /// Reads the messages of a chat request or of a Messages request, or the items of a Responses request.
    pub fn of_chat(body: &[u8]) -> Self {
        if !WORDS.iter().any(|word| word.find(body).is_some()) {
            return Self::default();
        }
        let Ok(chat) = serde_json::from_slice::<Chat<'_>>(body) else {
            return Self::default();
        };
        let items = chat
            .input
            .and_then(|input| serde_json::from_str::<Vec<&RawValue>>(input.get()).ok());
        let mut inputs = Self::default();
        for message in chat.messages.into_iter().chain(items).flatten() {
            let Ok(Message {
                content: Some(content),
            }) = serde_json::from_str(message.get())
            else {
                continue;
            };
            let parts: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
            for part in parts {
                inputs.add(part);
            }
        }
        inputs
    }

    /// Returns `true` if a kind is present.
    pub fn has(&self, input: Input) -> bool {
        let mut all = Input::ALL.into_iter().zip(self.kinds);
        all.any(|(kind, is_there)| kind == input && is_there)
    }

    /// Returns the first kind that is present and is not in `taken`.
    pub fn beyond(&self, taken: &[Input]) -> Option<Input> {
        let all = Input::ALL.into_iter().zip(self.kinds);
        let mut there = all.filter_map(|(kind, is_there)| is_there.then_some(kind));
        there.find(|kind| !taken.contains(kind))
    }

    fn add(&mut self, part: &RawValue) {
        let text = part.get();
        let Ok(Part { kind: Some(kind) }) = serde_json::from_str(text) else {
            return;
        };
        // In Base64, four letters encode three bytes.
        let data = text.len() as u64 / 4 * 3;
        let of_size = |(tokens, bytes): (u64, u64)| data.div_ceil(bytes).max(1) * tokens;
        let (input, tokens) = match &*kind {
            "image_url" | "image" | "input_image" => {
                let is_low = text.contains("\"low\"");
                let tokens = if is_low {
                    IMAGE_TOKENS.0
                } else {
                    IMAGE_TOKENS.1
                };
                (Input::Image, tokens)
            }
            "input_audio" | "audio_url" | "audio" => {
                let is_plain = text.contains("\"wav\"") || text.contains("\"pcm16\"");
                let bytes = if is_plain {
                    SOUND_BYTES.0
                } else {
                    SOUND_BYTES.1
                };
                (Input::Audio, of_size((SOUND_TOKENS, bytes)))
            }
            "file" | "document" | "input_file" => (Input::File, of_size(PAGE)),
            "video_url" | "video" | "input_video" => (Input::Video, of_size(VIDEO)),
            _ => return,
        };
        self.kinds[input as usize] = true;
        self.size += text.len();
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(tokens);
    }
}

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    /// The items of a Responses request.
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_part(part: &str) -> Inputs {
        let text = r#"{"type":"text","text":"an \"image_url\""}"#;
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{text},{part}]}}]}}"#);
        Inputs::of_chat(body.as_bytes())
    }

    #[test]
    fn each_kind_is_found_and_counted_by_its_own_rule() {
        let data = "A".repeat(400_000);
        for (part, kind, tokens) in [
            (
                r#"{"type":"image_url","image_url":{"url":"https://a/b.png"}}"#.to_owned(),
                Input::Image,
                765,
            ),
            (
                r#"{"type":"audio_url","audio_url":{"url":"https://a/b.mp3"}}"#.to_owned(),
                Input::Audio,
                10,
            ),
            (
                format!(
                    r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#
                ),
                Input::Image,
                765,
            ),
            (
                r#"{"type":"image_url","image_url":{"url":"https://a","detail":"low"}}"#.to_owned(),
                Input::Image,
                85,
            ),
            (
                format!(
                    r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"wav"}}}}"#
                ),
                Input::Audio,
                100,
            ),
            (
                format!(
                    r#"{{"type":"input_audio","input_audio":{{"data":"{data}","format":"mp3"}}}}"#
                ),
                Input::Audio,
                380,
            ),
            (
                format!(r#"{{"type":"file","file":{{"file_data":"{data}"}}}}"#),
                Input::File,
                4 * 1265,
            ),
            (
                r#"{"type":"video_url","video_url":{"url":"https://a"}}"#.to_owned(),
                Input::Video,
                258,
            ),
        ] {
            let inputs = of_part(&part);
            assert_eq!(inputs.beyond(&[]), Some(kind), "{}", &part[..40]);
            assert_eq!(inputs.beyond(&[kind]), None);
            assert_eq!(
                (inputs.tokens, inputs.size),
                (tokens, part.len()),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn the_items_of_a_responses_request_are_read_too() {
        let body = r#"{"input":[{"role":"user","content":[{"type":"input_image","image_url":"https://a"}]},{"type":"function_call"}]}"#;
        let inputs = Inputs::of_chat(body.as_bytes());
        assert_eq!(inputs.beyond(&[]), Some(Input::Image));
        assert_eq!(inputs.tokens, 765);
    }

    #[test]
    fn text_and_what_cannot_be_read_are_no_inputs() {
        for body in [
            r#"{"messages":[{"content":"an \"image_url\" in \"image"}]}"#,
            r#"{"messages":[{"content":[{"type":"text","text":"\"image"}]}]}"#,
            r#"{"messages":[{"content":[{"type":1},"image",{"type":"input_new"}]}]}"#,
            r#"{"messages":"image"}"#,
            r#"{"input":"an \"image"}"#,
            r#"{"messages":[{"content":{"type":"image"}}]}"#,
            r#"{"image"#,
        ] {
            assert_eq!(
                Inputs::of_chat(body.as_bytes()),
                Inputs::default(),
                "{body}"
            );
        }
    }
}
