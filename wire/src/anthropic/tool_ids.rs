//! The ids of tool calls in a Messages request.
//!
//! Anthropic's API requires ids of letters, digits, `_` and `-`, each for one call of the request. Other servers send
//! ids such as `functions.get_weather:0`, and some send the same id again in a later turn. Such an id is replaced in
//! the call and in its result.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The ids of the calls that were read.
#[derive(Debug, Default)]
pub(super) struct ToolIds {
    used: BTreeSet<String>,
    /// For each id of the caller, the ids of its calls that have no result yet, and the id of its last call.
    calls: BTreeMap<String, Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    open: VecDeque<String>,
    last: String,
}

impl ToolIds {
    /// Returns the id of a call.
    pub(super) fn of_call(&mut self, id: String) -> String {
        let valid = valid(&id);
        let mut own = valid.clone();
        let mut number = 2_usize;
        while self.used.contains(&own) {
            own = format!("{valid}_{number}");
            number += 1;
        }
        self.used.insert(own.clone());
        let calls = self.calls.entry(id).or_default();
        calls.open.push_back(own.clone());
        calls.last.clone_from(&own);
        own
    }

    /// Returns the id of a result: that of the earliest call with this id that has no result yet.
    pub(super) fn of_result(&mut self, id: &str) -> String {
        let Some(calls) = self.calls.get_mut(id) else {
            return valid(id);
        };
        calls.open.pop_front().unwrap_or_else(|| calls.last.clone())
    }
}

/// Returns an id with `_` in place of each character that is not allowed.
fn valid(id: &str) -> String {
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let letters = id.chars();
    let valid: String = letters
        .map(|letter| if is_valid(letter) { letter } else { '_' })
        .collect();
    if valid.is_empty() {
        return "_".to_owned();
    }
    valid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_changed_only_if_it_is_not_valid() {
        let mut ids = ToolIds::default();
        for (id, expected) in [
            ("toolu_01-A", "toolu_01-A"),
            ("functions.f:0", "functions_f_0"),
            ("functions:f.0", "functions_f_0_2"),
            ("å", "_"),
            ("", "__2"),
        ] {
            assert_eq!(ids.of_call(id.to_owned()), expected);
            assert_eq!(ids.of_result(id), expected);
        }
        assert_eq!(ids.of_result("never.called"), "never_called");
    }

    #[test]
    fn calls_with_the_same_id_get_different_ids_and_results_follow_their_order() {
        let mut ids = ToolIds::default();
        let mut call = || ids.of_call("call_0".to_owned());
        assert_eq!([call(), call()], ["call_0", "call_0_2"]);
        assert_eq!(ids.of_result("call_0"), "call_0");
        assert_eq!(ids.of_result("call_0"), "call_0_2");
        // A second result of the same call belongs to that call.
        assert_eq!(ids.of_result("call_0"), "call_0_2");
        assert_eq!(ids.of_call("call_0".to_owned()), "call_0_3");
        assert_eq!(ids.of_result("call_0"), "call_0_3");
        assert_eq!(ids.of_call("call_0_2".to_owned()), "call_0_2_2");
    }
}
