//! What is known of a call besides its body, for backends that are functions, and what these report beside their answer.

use std::{collections::BTreeMap, sync::OnceLock};

/// Variables that are set, each with its value; `None` removes one.
pub type SetVariables = BTreeMap<String, Option<String>>;

/// What is known of a call besides its body.
#[derive(Debug, Default)]
pub struct About {
    /// The tenant of the caller; empty without one.
    pub tenant: String,
    /// The name of the caller's key; empty without one.
    pub key: String,
    /// The route and the rule that have led to the function.
    pub route: Option<(String, String)>,
    /// The session of the call and its number of turns.
    pub session: Option<(String, u64)>,
    /// The variables of the session.
    pub variables: BTreeMap<String, String>,
    /// `true` if the body is an event that is delivered, of whose answer only the status counts.
    pub is_event: bool,
    /// What the answer sets; written by the attempt that is answered.
    set: OnceLock<SetVariables>,
}

impl About {
    /// Returns that of an event that is delivered.
    pub fn of_event() -> Self {
        Self {
            is_event: true,
            ..Self::default()
        }
    }

    /// Sets what the answer sets. Only the first answer counts.
    pub fn set_variables(&self, variables: impl FnOnce() -> SetVariables) {
        self.set.get_or_init(variables);
    }

    /// Returns what the answer sets; `None` if there is no answer yet, or it sets nothing.
    pub fn set(&self) -> Option<&SetVariables> {
        self.set.get().filter(|variables| !variables.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_answer_counts() {
        let about = About::default();
        assert_eq!(about.set(), None);
        let one = SetVariables::from([("a".to_owned(), None)]);
        about.set_variables(|| one.clone());
        about.set_variables(SetVariables::new);
        assert_eq!(about.set(), Some(&one));
    }
}
