//! Values that carry their unit in the text: `30s`, `64KiB`. A number without a unit is an error, because `30` may
//! mean seconds or milliseconds.

use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// A span of time, written `250ms`, `30s`, `1h` or `1m 30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(pub Duration);

/// A number of bytes, written `64KiB`, `10MB` or `512B`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

/// Text that is not an amount with a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {what}: {reason}; write it like {examples}")]
pub struct UnitError {
    given: String,
    what: &'static str,
    reason: String,
    examples: &'static str,
}

impl HumanDuration {
    const EXAMPLES: &'static str = "`250ms`, `30s` or `1h`";

    /// The longest duration that text can set: ten years of 365.25 days. A moment that far ahead can be computed on every
    /// clock, and a longer time in settings is a mistake.
    pub const MAX: Self = Self::from_secs(10 * 31_557_600);

    /// Creates a duration of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Creates a duration of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Returns the plain duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl ByteCount {
    const EXAMPLES: &'static str = "`512B`, `64KiB` or `10MiB`";

    /// Creates a count of kibibytes.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib * 1024)
    }

    /// Creates a count of mebibytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib * 1024 * 1024)
    }

    /// Returns the plain number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the number of bytes as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = humantime::parse_duration(text).map_err(|error| error.to_string());
        let bounded = parsed.and_then(|duration| {
            let is_short = duration <= Self::MAX.0;
            let too_long = || format!("it is longer than {}", Self::MAX);
            is_short.then_some(Self(duration)).ok_or_else(too_long)
        });
        bounded.map_err(|reason| UnitError {
            given: text.to_owned(),
            what: "a duration",
            reason,
            examples: Self::EXAMPLES,
        })
    }
}

impl FromStr for ByteCount {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: String| UnitError {
            given: text.to_owned(),
            what: "an amount of bytes",
            reason,
            examples: Self::EXAMPLES,
        };
        if !text.ends_with(|last: char| last.is_ascii_alphabetic()) {
            return Err(refuse("the unit is missing".to_owned()));
        }
        let parsed = text.parse::<bytesize::ByteSize>();
        parsed.map(|size| Self(size.as_u64())).map_err(refuse)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", humantime::format_duration(self.0))
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("TiB", 1 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ];
        for (unit, size) in UNITS {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(formatter, "{}{unit}", self.0 / size);
            }
        }
        write!(formatter, "{}B", self.0)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WithUnit {
            expected: "a duration such as `250ms`, `30s` or `1h`",
            value: PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WithUnit {
            expected: "an amount of bytes such as `512B`, `64KiB` or `10MiB`",
            value: PhantomData,
        })
    }
}

/// Reads text and parses it; a number becomes text without a unit, which is an error.
struct WithUnit<T> {
    expected: &'static str,
    value: PhantomData<T>,
}

impl<T: FromStr<Err = UnitError>> Visitor<'_> for WithUnit<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_and_written_back() {
        for text in ["250ms", "30s", "1h", "1m 30s"] {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!(duration.to_string(), text);
        }
    }

    #[test]
    fn a_duration_is_at_most_ten_years() {
        let longest: HumanDuration = "10years".parse().unwrap();
        assert_eq!(longest, HumanDuration::MAX);
        for text in ["10years 1ns", "11years", "584542000000years"] {
            let error = text.parse::<HumanDuration>().unwrap_err().to_string();
            assert!(error.contains("it is longer than 10years"), "{error}");
        }
    }

    #[test]
    fn bytes_are_read_with_their_unit_and_written_back() {
        for (text, bytes) in [("64KiB", 65_536), ("512B", 512), ("10MiB", 10 << 20)] {
            let count: ByteCount = text.parse().unwrap();
            assert_eq!((count.0, count.to_string()), (bytes, text.to_owned()));
        }
        assert_eq!(
            "10MB".parse::<ByteCount>().unwrap().to_string(),
            "10000000B"
        );
    }

    #[test]
    fn a_number_without_a_unit_is_refused_with_examples() {
        let error = "30".parse::<HumanDuration>().unwrap_err().to_string();
        assert!(
            error.contains("`30` is not a duration") && error.contains("`30s`"),
            "{error}"
        );
        let error = "30".parse::<ByteCount>().unwrap_err().to_string();
        assert!(
            error.contains("the unit is missing") && error.contains("`64KiB`"),
            "{error}"
        );
        let error = serde_json::from_str::<HumanDuration>("30")
            .unwrap_err()
            .to_string();
        assert!(error.contains("`30` is not a duration"), "{error}");
    }
}
