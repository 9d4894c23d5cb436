//! One rule, ready to be used.

use std::{ops::Range, sync::Arc};

use crate::{
    expression::{Expression, RuleError},
    settings::{Action, GuardRuleSettings, GuardSettings},
};

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
    pub(crate) fn find(&self, text: &str, from: usize) -> Option<Range<usize>> {
        self.expression.find(text, from)
    }

    /// Returns the first place at or after `from` where a match could begin that more text would change.
    pub(crate) fn open_from(&self, text: &str, from: usize) -> Option<usize> {
        self.expression.open_from(text, from)
    }
}
