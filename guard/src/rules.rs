//! The rules for one side of one call, from all guards that apply to it.

use std::{collections::BTreeSet, sync::Arc};

use kebne_wire::texts::{self, Form, Replacement, Text};

use crate::{
    rule::Rule,
    scan::{Match, Scan},
    settings::{Action, Side},
};

/// A rule that has matched, or a check that has reported something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The side.
    pub side: Side,
    /// The name of the guard.
    pub guard: Arc<str>,
    /// The name of the rule.
    pub rule: Arc<str>,
    /// What has happened.
    pub action: Action,
}

/// What rules have found: each rule once.
pub type Hits = BTreeSet<Hit>;

/// Returns hits in the form of a header or a log line: `input:pii/email=mask`.
pub fn words(hits: &Hits) -> String {
    let word = |hit: &Hit| {
        let (side, action) = (hit.side.name(), hit.action.name());
        format!("{side}:{}/{}={action}", hit.guard, hit.rule)
    };
    let words: Vec<String> = hits.iter().map(word).collect();
    words.join(", ")
}

/// The rules for one side.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Arc<[Arc<Rule>]>,
    side: Option<Side>,
}

/// A text must not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The name of the guard.
    pub guard: Arc<str>,
    /// The name of the rule.
    pub rule: Arc<str>,
}

impl Rules {
    /// Creates the rules for a side.
    pub fn new(side: Side, rules: impl IntoIterator<Item = Arc<Rule>>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            side: Some(side),
        }
    }

    /// Returns `true` if there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns `true` if a rule can change or refuse a text.
    pub fn can_change(&self) -> bool {
        self.rules.iter().any(|rule| rule.action != Action::Tag)
    }

    pub(crate) fn list(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    pub(crate) fn rule(&self, found: &Match) -> &Rule {
        &self.rules[found.rule]
    }

    pub(crate) fn note(&self, found: &Match, hits: &mut Hits) {
        let rule = self.rule(found);
        hits.insert(Hit {
            side: self.side.unwrap_or(Side::Input),
            guard: Arc::clone(&rule.guard),
            rule: Arc::clone(&rule.name),
            action: rule.action,
        });
    }

    pub(crate) fn refusal(&self, found: &Match) -> Option<Refused> {
        let rule = self.rule(found);
        (rule.action == Action::Refuse).then(|| Refused {
            guard: Arc::clone(&rule.guard),
            rule: Arc::clone(&rule.name),
        })
    }

    /// Returns a text with its matches masked; `None` if nothing changes.
    ///
    /// # Errors
    /// Returns an error if a rule refuses the text.
    pub fn plain(&self, text: &str, hits: &mut Hits) -> Result<Option<String>, Refused> {
        let mut found = Vec::new();
        Scan::default().feed(&self.rules, text, true, &mut found);
        let (mut masked, mut copied) = (String::new(), 0);
        for one in &found {
            self.note(one, hits);
            if let Some(refused) = self.refusal(one) {
                return Err(refused);
            }
            let rule = self.rule(one);
            if rule.action == Action::Mask {
                masked.push_str(&text[copied..one.range.start]);
                masked.push_str(&rule.replacement);
                copied = one.range.end;
            }
        }
        if copied == 0 {
            return Ok(None);
        }
        masked.push_str(&text[copied..]);
        Ok(Some(masked))
    }

    /// Returns JSON in a string with the matches in its strings and numbers masked; `None` if nothing changes.
    ///
    /// # Errors
    /// Returns an error if a rule refuses a text in it.
    pub fn json(&self, json: &str, hits: &mut Hits) -> Result<Option<String>, Refused> {
        let Some(texts) = texts::of_json(json) else {
            // A model may write what is not JSON.
            return self.plain(json, hits);
        };
        let edits = self.edits(&texts, hits)?;
        if edits.is_empty() {
            return Ok(None);
        }
        let masked = texts::replaced(json.as_bytes(), &edits);
        Ok(Some(String::from_utf8_lossy(&masked).into_owned()))
    }

    /// Returns the changes of texts.
    ///
    /// # Errors
    /// Returns an error if a rule refuses a text.
    pub fn edits(&self, texts: &[Text], hits: &mut Hits) -> Result<Vec<Edit>, Refused> {
        let mut edits = Vec::new();
        for text in texts {
            let masked = match text.form {
                Form::Plain | Form::Number => self.plain(&text.value, hits)?,
                Form::Json => self.json(&text.value, hits)?,
            };
            if let Some(masked) = masked {
                edits.push((text.span.clone(), Replacement::Text(masked)));
            }
        }
        Ok(edits)
    }
}

/// The change of a value in JSON.
pub type Edit = (std::ops::Range<usize>, Replacement);
