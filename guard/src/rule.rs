//! One rule, ready to be used.

use std::{ops::Range, sync::Arc};

use crate::{
    expression::{Expression, RuleError},
    folded::Folded,
    settings::{Action, GuardRuleSettings, GuardSettings},
};

/// A text as rules see it: the regular expressions of operators as it is, the known patterns folded.
pub(crate) struct Seen<'t> {
    pub(crate) text: &'t str,
    folded: Folded<'t>,
}

impl<'t> Seen<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let folded = Folded::of(text);
        Self { text, folded }
    }
}

/// A rule that can be used.
#[derive(Debug)]
pub struct Rule {
    /// The name of its guard.
    pub guard: Arc<str>,
    /// Its own name.
    pub name: Arc<str>,
    /// What happens to a match.
    pub action: Action,
    /// The text in the place of a match.
    pub(crate) replacement: String,
    expression: Expression,
}

impl Rule {
    /// Creates a rule of a guard.
    ///
    /// # Errors
    /// Returns an error if the regular expression cannot be used.
    pub fn new(guard: &GuardSettings, settings: &GuardRuleSettings) -> Result<Self, RuleError> {
        let regex = settings.regex.as_deref();
        Ok(Self {
            guard: guard.name.as_str().into(),
            name: settings.name().into(),
            action: settings.action,
            replacement: settings.replacement(),
            expression: Expression::new(regex, settings.pattern, guard.window)?,
        })
    }

    /// Returns the first match that begins at or after `from`.
    pub(crate) fn find(&self, seen: &Seen<'_>, from: usize) -> Option<Range<usize>> {
        if !self.expression.is_pattern() {
            return self.expression.find(seen.text, from);
        }
        let folded = &seen.folded;
        let found = self.expression.find(folded.text(), folded.folded(from))?;
        Some(folded.original(found.start)..folded.original(found.end))
    }

    /// Returns the first place at or after `from` where a match could begin that more text would change.
    pub(crate) fn open_from(&self, seen: &Seen<'_>, from: usize) -> Option<usize> {
        if !self.expression.is_pattern() {
            return self.expression.open_from(seen.text, from);
        }
        let folded = &seen.folded;
        let open = self
            .expression
            .open_from(folded.text(), folded.folded(from))?;
        Some(folded.original(open))
    }
}
