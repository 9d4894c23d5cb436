//! Errors in settings: the key, the problem, what is allowed, and the place in the file or the environment.

use std::fmt;

use crate::Origin;

/// The largest number of edits between two words that makes one a suggestion for the other.
const SUGGESTION_EDITS_MAX: usize = 3;

/// One wrong key or value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct SettingsError {
    /// The layer that the value came from, if known. The first field, so that errors are sorted by their place.
    pub origin: Option<Origin>,
    /// The path of the key, for example `backends[0].limits.limit_initial`; empty for the whole file.
    pub path: String,
    /// The problem: lowercase, values in backticks.
    pub message: String,
    /// The allowed values or keys, if they can be listed.
    pub allowed: Vec<String>,
    /// The element of `allowed` that was probably meant.
    pub suggestion: Option<String>,
    /// The path of the other key of a contradiction. If only that key is set, the error is reported as one of that key.
    pub other: Option<String>,
}

impl SettingsError {
    /// Creates an error at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            origin: None,
            path: path.into(),
            message: message.into(),
            allowed: Vec::new(),
            suggestion: None,
            other: None,
        }
    }

    /// Names the other key of a contradiction.
    #[must_use]
    pub fn against(mut self, path: impl Into<String>) -> Self {
        self.other = Some(path.into());
        self
    }

    /// Sets the place of the error; the defaults are not a place.
    #[must_use]
    pub fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone()).filter(|origin| !origin.is_default());
        self
    }

    /// Sets the allowed values or keys.
    #[must_use]
    pub fn with_allowed<S: Into<String>>(mut self, allowed: impl IntoIterator<Item = S>) -> Self {
        self.allowed = allowed.into_iter().map(Into::into).collect();
        self
    }

    /// Suggests the allowed word nearest to `given`, if one is near.
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
        if let Some(place @ Origin::File { .. }) = &self.origin {
            write!(formatter, "{place}: ")?;
        }
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
        if let Some(Origin::Variable(name)) = &self.origin {
            write!(formatter, " (from {name})")?;
        }
        Ok(())
    }
}

/// All errors of the settings, sorted by their place and path.
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
    fn a_place_in_a_file_comes_first_and_a_variable_last() {
        let error = SettingsError::new("server.workers", "must be 1 to 256");
        let file = Origin::File {
            path: "kebne.toml".to_owned(),
            line: 12,
            column: 3,
        };
        assert_eq!(
            error.clone().at(&file).to_string(),
            "kebne.toml:12:3: server.workers: must be 1 to 256"
        );
        let variable = Origin::Variable("KEBNE__SERVER__WORKERS".to_owned());
        assert_eq!(
            error.clone().at(&variable).to_string(),
            "server.workers: must be 1 to 256 (from KEBNE__SERVER__WORKERS)"
        );
        let default = error.at(&Origin::Default).to_string();
        assert_eq!(default, "server.workers: must be 1 to 256");
    }

    #[test]
    fn nothing_is_suggested_for_a_word_that_resembles_none() {
        let error = SettingsError::new("x", "unknown key")
            .with_allowed(["ab"])
            .suggesting("zz");
        assert_eq!(error.suggestion, None);
    }
}
