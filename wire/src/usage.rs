//! Counts of tokens as a server reports them, in the words of any dialect.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The largest count that a report can have. A larger one counts as missing: no call has a billion tokens, and sums of such counts would hide
/// what all other calls have used.
const COUNT_MAX: u64 = 1_000_000_000;

/// The tokens of one call. A count is `None` if the server does not report it, or reports something absurd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the input, all parts included.
    pub input: Option<u64>,
    /// Tokens of the input that the server had in its cache.
    pub cached: Option<u64>,
    /// Tokens of the input that the server wrote to its cache.
    pub cache_written: Option<u64>,
    /// Tokens of images in the input.
    pub image_input: Option<u64>,
    /// Tokens of sound in the input.
    pub audio_input: Option<u64>,
    /// Tokens of the output, all parts included.
    pub output: Option<u64>,
    /// Tokens of images in the output.
    pub image_output: Option<u64>,
    /// Tokens of sound in the output.
    pub audio_output: Option<u64>,
}

impl Usage {
    /// Returns the usage of a server that reports only the output.
    pub fn of_output(tokens: Option<u32>) -> Self {
        Self {
            output: tokens.map(u64::from),
            ..Self::default()
        }
    }

    /// Returns the usage in an answer of any operation; empty if there is none that can be read.
    pub fn of_answer(answer: &serde_json::Value) -> Self {
        Self::deserialize(&answer["usage"]).unwrap_or_default()
    }

    /// Returns these counts; those that are missing are taken from an earlier report.
    #[must_use]
    pub fn or(self, earlier: Self) -> Self {
        Self {
            input: self.input.or(earlier.input),
            cached: self.cached.or(earlier.cached),
            cache_written: self.cache_written.or(earlier.cache_written),
            image_input: self.image_input.or(earlier.image_input),
            audio_input: self.audio_input.or(earlier.audio_input),
            output: self.output.or(earlier.output),
            image_output: self.image_output.or(earlier.image_output),
            audio_output: self.audio_output.or(earlier.audio_output),
        }
    }

    /// Returns the tokens of the output, if they are known and not absurd.
    pub fn output_tokens(self) -> Option<u32> {
        u32::try_from(self.output?).ok()
    }
}

/// The fields of a usage in all dialects. A value of another type counts as missing: a usage that cannot be read is not
/// worth a call.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    prompt_tokens: Count,
    completion_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    /// Of servers that report nothing else, such as those that sort documents.
    total_tokens: Count,
    prompt_tokens_details: Count,
    // Transcriptions have the singular.
    #[serde(alias = "input_token_details")]
    input_tokens_details: Count,
    completion_tokens_details: Count,
    #[serde(alias = "output_token_details")]
    output_tokens_details: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        // Messages counts cached tokens apart.
        let (read, written) = (
            fields.cache_read_input_tokens.whole,
            fields.cache_creation_input_tokens.whole,
        );
        let with_cached = |fresh: u64| {
            let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
            fresh.saturating_add(cached)
        };
        let input = fields.prompt_tokens.whole;
        let input = input.or(fields.input_tokens.whole.map(with_cached));
        let output = fields
            .completion_tokens
            .whole
            .or(fields.output_tokens.whole);
        let total = fields.total_tokens.whole.filter(|_| output.is_none());
        let of_input = fields.prompt_tokens_details.or(fields.input_tokens_details);
        let of_output = fields
            .completion_tokens_details
            .or(fields.output_tokens_details);
        Ok(Self {
            input: input.or(total),
            cached: of_input.cached.or(read),
            cache_written: written,
            image_input: of_input.image,
            audio_input: of_input.audio,
            output,
            image_output: of_output.image,
            audio_output: of_output.audio,
        })
    }
}

/// A count, or the counts of an object with parts of a count.
#[derive(Clone, Copy, Default)]
struct Count {
    whole: Option<u64>,
    cached: Option<u64>,
    image: Option<u64>,
    audio: Option<u64>,
}

impl Count {
    /// Returns these parts; those that are missing are taken from `other`.
    fn or(self, other: Self) -> Self {
        Self {
            whole: self.whole.or(other.whole),
            cached: self.cached.or(other.cached),
            image: self.image.or(other.image),
            audio: self.audio.or(other.audio),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count {
            whole: Some(count).filter(|count| *count <= COUNT_MAX),
            ..Count::default()
        })
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Count, E> {
        Ok(Count::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count::default())
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Count, A::Error> {
        let mut parts = Count::default();
        while let Some(key) = fields.next_key::<std::borrow::Cow<'_, str>>()? {
            let count: Count = fields.next_value()?;
            match &*key {
                "cached_tokens" => parts.cached = count.whole,
                "image_tokens" => parts.image = count.whole,
                "audio_tokens" => parts.audio = count.whole,
                _ => {}
            }
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_is_read_and_odd_values_are_missing() {
        for (text, input, cached, output) in [
            ("{}", None, None, None),
            (
                r#"{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"audio_tokens":0,"cached_tokens":4}}"#,
                Some(9),
                Some(4),
                Some(3),
            ),
            (
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1}}"#,
                Some(9),
                Some(4),
                Some(3),
            ),
            (
                r#"{"input_tokens":2,"cache_read_input_tokens":4,"cache_creation_input_tokens":3,"output_tokens":3}"#,
                Some(9),
                Some(4),
                Some(3),
            ),
            (
                r#"{"prompt_tokens":"9","completion_tokens":-3,"prompt_tokens_details":[{}]}"#,
                None,
                None,
                None,
            ),
            (
                r#"{"prompt_tokens":9223372036854775800,"completion_tokens":1000000001,"prompt_tokens_details":{"cached_tokens":18446744073709551615}}"#,
                None,
                None,
                None,
            ),
            (
                r#"{"prompt_tokens":1.5,"completion_tokens":{},"prompt_tokens_details":null}"#,
                None,
                None,
                None,
            ),
        ] {
            let usage: Usage = serde_json::from_str(text).unwrap();
            assert_eq!(
                (usage.input, usage.cached, usage.output),
                (input, cached, output),
                "{text}"
            );
        }
    }

    #[test]
    fn the_parts_of_input_and_output_are_read() {
        for (text, expected) in [
            (
                r#"{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":{"audio_tokens":2,"image_tokens":3},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":5}}"#,
                [Some(9), None, Some(3), Some(2), Some(8), None, Some(5)],
            ),
            (
                r#"{"input_tokens":9,"output_tokens":8,"input_tokens_details":{"text_tokens":1,"image_tokens":4},"output_tokens_details":{"image_tokens":8}}"#,
                [Some(9), None, Some(4), None, Some(8), Some(8), None],
            ),
            (
                r#"{"type":"tokens","input_tokens":9,"output_tokens":8,"input_token_details":{"audio_tokens":7}}"#,
                [Some(9), None, None, Some(7), Some(8), None, None],
            ),
            (
                r#"{"input_tokens":2,"cache_creation_input_tokens":3,"output_tokens":1}"#,
                [Some(5), Some(3), None, None, Some(1), None, None],
            ),
            (
                r#"{"total_tokens":15}"#,
                [Some(15), None, None, None, None, None, None],
            ),
            (
                r#"{"type":"duration","seconds":3}"#,
                [None, None, None, None, None, None, None],
            ),
        ] {
            let usage: Usage = serde_json::from_str(text).unwrap();
            let seen = [
                usage.input,
                usage.cache_written,
                usage.image_input,
                usage.audio_input,
                usage.output,
                usage.image_output,
                usage.audio_output,
            ];
            assert_eq!(seen, expected, "{text}");
        }
    }
}
