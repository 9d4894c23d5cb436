//! Paths of keys, such as `backends[0].limits.law`.

use std::fmt;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// A key of a table.
    Key(String),
    /// An index of a list.
    Index(usize),
}

impl fmt::Display for Segment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(formatter, "{key}"),
            Self::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

/// Returns a path as text.
pub(crate) fn written(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        if matches!(segment, Segment::Key(_)) && !text.is_empty() {
            text.push('.');
        }
        text += &segment.to_string();
    }
    text
}

/// Splits the text of a path. This is the reverse of [`written`], except for keys that contain a dot or a bracket.
pub(crate) fn segments(path: &str) -> Vec<Segment> {
    let spaced = path.replace('[', ".[");
    let parts = spaced.split('.').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let inner = part
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            match inner.and_then(|digits| digits.parse().ok()) {
                Some(index) => Segment::Index(index),
                None => Segment::Key(part.to_owned()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_and_written_back() {
        for path in ["", "server", "backends[0].limits.law", "a[1][2]", "x.y[3]"] {
            assert_eq!(written(&segments(path)), path);
        }
        let expected = [
            Segment::Key("backends".to_owned()),
            Segment::Index(12),
            Segment::Key("name".to_owned()),
        ];
        assert_eq!(segments("backends[12].name"), expected);
    }
}
