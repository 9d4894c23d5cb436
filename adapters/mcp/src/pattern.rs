//! Patterns of names of tools: texts with `*` for any characters.

use std::{fmt, str::FromStr};

/// The longest pattern.
const LENGTH_MAX: usize = 128;

/// A pattern of names, in which `*` stands for any number of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// The error of a text that is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` must be 1 to 128 printable ASCII characters without spaces")]
pub struct WrongPattern(String);

impl Pattern {
    /// Returns `true` if a name fits.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut last = None;
        for part in parts {
            if let Some(before) = last.replace(part) {
                match rest.find(before) {
                    Some(at) => rest = rest.get(at + before.len()..).unwrap_or_default(),
                    None => return false,
                }
            }
        }
        last.map_or(rest.is_empty(), |last| rest.ends_with(last))
    }
}

impl FromStr for Pattern {
    type Err = WrongPattern;

    fn from_str(text: &str) -> Result<Self, WrongPattern> {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain && text.len() <= LENGTH_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(WrongPattern(text.chars().take(LENGTH_MAX).collect()))
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, fits) in [
            ("read", "read", true),
            ("read", "reader", false),
            ("read_*", "read_file", true),
            ("read_*", "read_", true),
            ("read_*", "write_file", false),
            ("*_file", "read_file", true),
            ("*_file", "read_files", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("*a*", "bab", true),
            ("**", "", true),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.fits(name), fits, "{pattern} {name}");
        }
        for wrong in ["", "a b", "ä", &"x".repeat(129)] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
