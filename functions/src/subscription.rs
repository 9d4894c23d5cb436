//! The events that a function gets.

use std::collections::BTreeMap;

use kebne_settings::{SettingsError, Validate, join};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most values of a filter.
const VALUES_MAX: usize = 64;

/// Events that a function gets: those that fit all conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnSettings {
    /// The kinds of events, such as `call.ended`, in which `*` stands for any characters; at least one.
    pub events: Vec<String>,
    /// The tenants whose events these are, in which `*` stands for any characters. Default none: of all, and of the service itself.
    pub tenants: Vec<String>,
    /// Fields of the data that must have a value: a table from field to value, in which `*` stands for any characters. Default none.
    pub data: BTreeMap<String, String>,
}

impl OnSettings {
    /// Returns `true` if a function gets an event of a kind, a tenant (empty for the service itself) and with these data.
    pub fn takes(&self, kind: &str, tenant: &str, data: &Value) -> bool {
        let fits =
            |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        fits(&self.events, kind)
            && (self.tenants.is_empty() || fits(&self.tenants, tenant))
            && self.data.iter().all(|(field, wanted)| {
                let value = data.get(field).unwrap_or(&Value::Null);
                match value {
                    Value::String(text) => matches(wanted, text),
                    other => matches(wanted, &other.to_string()),
                }
            })
    }
}

impl Validate for OnSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if self.events.is_empty() {
            let message = "the kinds of events are needed, such as `call.ended`";
            errors.push(SettingsError::new(join(path, "events"), message));
        }
        for (key, count) in [
            ("events", self.events.len()),
            ("tenants", self.tenants.len()),
            ("data", self.data.len()),
        ] {
            if count > VALUES_MAX {
                let message = format!("must be at most {VALUES_MAX}");
                errors.push(SettingsError::new(join(path, key), message));
            }
        }
        errors
    }
}

/// Returns `true` if a text fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_must_fit_all_conditions() {
        let on: OnSettings = toml::from_str("events = ['call.*', 'alert.opened']\ntenants = ['acme*']\ndata = {ending = 'error', attempts = '3'}").unwrap();
        let data = json!({"ending": "error", "attempts": 3, "more": null});
        assert!(on.takes("call.ended", "acme-1", &data));
        assert!(on.takes("alert.opened", "acme", &data));
        assert!(!on.takes("alert.closed", "acme", &data));
        assert!(!on.takes("call.ended", "other", &data));
        assert!(!on.takes("call.ended", "", &data));
        assert!(!on.takes(
            "call.ended",
            "acme",
            &json!({"ending": "error", "attempts": 30})
        ));
        assert!(!on.takes("call.ended", "acme", &json!({"ending": "error"})));
        let all: OnSettings = toml::from_str("events = ['*']").unwrap();
        assert!(all.takes("x", "", &Value::Null));
        assert_eq!(OnSettings::default().validate("on")[0].path, "on.events");
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("*b", "ab", true),
            ("a*c", "abbc", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_fits_itself_with_parts_replaced(head in "[ab]{0,4}", middle in "[ab]{0,4}", tail in "[ab]{0,4}") {
            let text = format!("{head}{middle}{tail}");
            let pattern = format!("{head}*{tail}");
            prop_assert!(matches(&pattern, &text));
        }
    }
}
