//! A guard that can be used.

use std::sync::Arc;

use crate::{
    expression::RuleError,
    rule::Rule,
    settings::{CheckSettings, GuardSettings, Side, SizeSettings},
};

/// A guard: its rules, compiled, and its other checks.
#[derive(Debug)]
pub struct Guard {
    /// The name.
    pub name: Arc<str>,
    /// Whether calls may pass whose input is given as the numbers of its tokens.
    pub allows_token_ids: bool,
    /// The largest sizes of a call.
    pub sizes: SizeSettings,
    /// The service or model that checks texts.
    pub check: CheckSettings,
    input: Vec<Arc<Rule>>,
    output: Vec<Arc<Rule>>,
}

/// The size of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// The characters of all texts.
    pub characters: u64,
    /// The messages or items.
    pub messages: u64,
    /// The estimated tokens of the input.
    pub tokens: u64,
    /// The images.
    pub images: u64,
}

impl Guard {
    /// Compiles the rules of a guard.
    ///
    /// # Errors
    /// Returns an error if a regular expression cannot be used.
    pub fn new(settings: &GuardSettings) -> Result<Self, RuleError> {
        let (mut input, mut output) = (Vec::new(), Vec::new());
        for each in &settings.rules {
            let rule = Arc::new(Rule::new(settings, each)?);
            if each.covers(Side::Input) {
                input.push(Arc::clone(&rule));
            }
            if each.covers(Side::Output) {
                output.push(rule);
            }
        }
        Ok(Self {
            name: settings.name.as_str().into(),
            allows_token_ids: settings.allows_token_ids,
            sizes: settings.sizes.clone(),
            check: settings.check.clone(),
            input,
            output,
        })
    }

    /// Returns the rules for a side.
    pub fn rules(&self, side: Side) -> impl Iterator<Item = Arc<Rule>> {
        let rules = match side {
            Side::Input => &self.input,
            Side::Output => &self.output,
        };
        rules.iter().cloned()
    }

    /// Returns `true` if the guard looks at the texts of a call.
    pub fn reads_input(&self) -> bool {
        !self.input.is_empty()
            || self.check.covers(Side::Input)
            || self.sizes != SizeSettings::default()
    }
}

impl SizeSettings {
    /// Returns the key of the first bound that a call exceeds, and the bound.
    pub fn exceeded(&self, size: &Size) -> Option<(&'static str, u64)> {
        let bounds = [
            ("characters_max", self.characters_max, size.characters),
            ("messages_max", self.messages_max, size.messages),
            ("tokens_max", self.tokens_max, size.tokens),
            ("images_max", self.images_max, size.images),
        ];
        let mut exceeded = bounds.into_iter().filter_map(|(key, max, is)| {
            let max = max?;
            (is > max).then_some((key, max))
        });
        exceeded.next()
    }
}
