//! Names as one part of a topic.

use std::fmt::Write as _;

/// What stands for an empty name.
const NONE: &str = "-";

/// Returns a name as one part of a topic: letters, digits, `_` and `-` stay, all other bytes become `%` and two hexadecimal digits. An empty name
/// is `-`, and the name `-` is `%2D`, so that two names are never the same part.
pub fn token(name: &str) -> String {
    if name.is_empty() {
        return NONE.to_owned();
    }
    let mut part = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || (byte == b'-' && name != NONE) {
            part.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _complete = write!(part, "%{byte:02X}");
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_are_never_the_same_part() {
        let names = ["", "-", "a.b", "a b", "a%2Eb", "a/b", "*", ">", "ann", "é"];
        let mut parts: Vec<String> = names.iter().map(|name| token(name)).collect();
        for part in &parts {
            assert!(!part.contains(['.', ' ', '*', '>']), "{part}");
        }
        parts.sort();
        parts.dedup();
        assert_eq!(parts.len(), names.len());
    }
}
