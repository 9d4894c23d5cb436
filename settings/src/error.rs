//! What is wrong with the settings, said so that it can be put right without looking anything up.

use std::fmt;

/// Similarity is only worth a suggestion up to this many edits; beyond it the words have nothing in common.
const SUGGESTION_EDITS_MAX: usize = 3;

/// One wrong key or value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct SettingsError {
    /// Where: the key's path, for example `backends[0].limits.initial`; empty for the whole file.
    pub path: String,
    /// What is wrong: lowercase, values in backticks.
    pub message: String,
    /// What would be right, when that can be listed.
    pub allowed: Vec<String>,
    /// Which of `allowed` was probably meant.
    pub suggestion: Option<String>,
    /// Which layer the value came from, when known.
    pub origin: Option<String>,
}

impl SettingsError {
    /// Makes an error at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            allowed: Vec::new(),
            suggestion: None,
            origin: None,
        }
    }

    /// Says what is allowed.
    #[must_use]
    pub fn with_allowed<S: Into<String>>(mut self, allowed: impl IntoIterator<Item = S>) -> Self {
        self.allowed = allowed.into_iter().map(Into::into).collect();
        self
    }

    /// Suggests the allowed word nearest to what was `given`, when one is near.
    #[must_use]
    pub fn suggesting(mut self, given: &str) -> Self {
        let by_distance = self.allowed.iter().map(|word| (edits(given, word), word));
        let nearest = by_distance.min().filter(|(distance, word)| {
            *distance <= SUGGESTION_EDITS_MAX && *distance < word.chars().count()
        });
        self.suggestion = nearest.map(|(_, word)| word.clone());
        self
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        write!(formatter, "{}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(formatter, "; did you mean `{suggestion}`?")?;
        }
        if !self.allowed.is_empty() {
            write!(formatter, "; allowed: `{}`", self.allowed.join("`, `"))?;
        }
        if let Some(origin) = &self.origin {
            write!(formatter, " (from {origin})")?;
        }
        Ok(())
    }
}

/// All that is wrong, sorted by path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct SettingsErrors(pub Vec<SettingsError>);

/// Writes one error per line.
fn lines(errors: &[SettingsError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Counts the insertions, deletions and replacements between two words (Levenshtein).
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_allowed_word_is_suggested() {
        let error = SettingsError::new("server.lisen", "unknown key")
            .with_allowed(["listen", "keys"])
            .suggesting("lisen");
        let text = error.to_string();
        assert_eq!(
            text,
            "server.lisen: unknown key; did you mean `listen`?; allowed: `listen`, `keys`"
        );
    }

    #[test]
    fn nothing_is_suggested_for_a_word_that_resembles_none() {
        let error = SettingsError::new("x", "unknown key")
            .with_allowed(["ab"])
            .suggesting("zz");
        assert_eq!(error.suggestion, None);
    }
}
