//! Counts of tokens as a server reports them, in the words of any dialect.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The tokens of one call. A count is `None` if the server does not report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the input, cached ones included.
    pub input: Option<u64>,
    /// Tokens of the input that the server had in its cache.
    pub cached: Option<u64>,
    /// Tokens of the output.
    pub output: Option<u64>,
}

impl Usage {
    /// Returns the usage of a server that reports only the output.
    pub fn of_output(tokens: Option<u32>) -> Self {
        Self {
            output: tokens.map(u64::from),
            ..Self::default()
        }
    }

    /// Returns these counts; those that are missing are taken from an earlier report.
    #[must_use]
    pub fn or(self, earlier: Self) -> Self {
        Self {
            input: self.input.or(earlier.input),
            cached: self.cached.or(earlier.cached),
            output: self.output.or(earlier.output),
        }
    }

    /// Returns the tokens of the output, if they are known and not absurd.
    pub fn output_tokens(self) -> Option<u32> {
        u32::try_from(self.output?).ok()
    }
}

/// The fields of a usage in all dialects. A value of another type counts as missing: a usage that cannot be read is not
/// worth a call.
#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    input_tokens: Count,
    #[serde(default)]
    output_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Count,
    #[serde(default)]
    input_tokens_details: Count,
    #[serde(default)]
    cache_read_input_tokens: Count,
    #[serde(default)]
    cache_creation_input_tokens: Count,
}

impl<'de> Deserialize<'de> for Usage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        // Messages counts cached tokens apart.
        let (read, written) = (
            fields.cache_read_input_tokens.0,
            fields.cache_creation_input_tokens.0,
        );
        let with_cached = |fresh: u64| {
            let cached = read.unwrap_or(0).saturating_add(written.unwrap_or(0));
            fresh.saturating_add(cached)
        };
        let details = fields.prompt_tokens_details.0;
        Ok(Self {
            input: fields
                .prompt_tokens
                .0
                .or(fields.input_tokens.0.map(with_cached)),
            cached: details.or(fields.input_tokens_details.0).or(read),
            output: fields.completion_tokens.0.or(fields.output_tokens.0),
        })
    }
}

/// A count, or the `cached_tokens` of an object.
#[derive(Default)]
struct Count(Option<u64>);

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
        Ok(Count(Some(count)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Count, A::Error> {
        let mut cached = Count(None);
        while let Some(key) = fields.next_key::<std::borrow::Cow<'_, str>>()? {
            let count: Count = fields.next_value()?;
            if key == "cached_tokens" {
                cached = count;
            }
        }
        Ok(cached)
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
}
