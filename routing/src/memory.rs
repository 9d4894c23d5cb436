//! What routes remember of a session: a small JSON document that is kept with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most routes that a session is remembered by; calls of further ones are not remembered.
const ROUTES_MAX: usize = 16;
/// The most intents that are counted of one route.
const COUNTS_MAX: usize = 64;

/// What all routes remember of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionMemory {
    routes: BTreeMap<String, RouteMemory>,
}

/// What one route remembers of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteMemory {
    /// The rule with which the session stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stay: Option<String>,
    /// The model that the last turn was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// How many turns had each intent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u32>,
}

/// What is to be remembered of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The route.
    pub route: String,
    /// The rule with which the session stays from now on.
    pub stay: Option<String>,
    /// The model.
    pub model: String,
    /// The intent, if the route counts it.
    pub intent: Option<String>,
}

impl SessionMemory {
    /// Reads a document. One that cannot be read counts as an empty one: the session begins anew.
    pub fn read(text: Option<&str>) -> Self {
        let read = text.and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_default()
    }

    /// Returns the document.
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns what a route remembers; empty if it does not know the session.
    pub fn of(&self, route: &str) -> RouteMemory {
        self.routes.get(route).cloned().unwrap_or_default()
    }

    /// Adds what is to be remembered of a decision. Returns `true` if that changes anything.
    pub fn note(&mut self, noted: &Noted) -> bool {
        let before = self.routes.get(&noted.route);
        if before.is_none() && self.routes.len() >= ROUTES_MAX {
            return false;
        }
        let mut memory = before.cloned().unwrap_or_default();
        memory.last = Some(noted.model.clone());
        if noted.stay.is_some() {
            memory.stay.clone_from(&noted.stay);
        }
        if let Some(intent) = &noted.intent
            && (memory.counts.contains_key(intent) || memory.counts.len() < COUNTS_MAX)
        {
            let count = memory.counts.entry(intent.clone()).or_default();
            *count = count.saturating_add(1);
        }
        let changes = before != Some(&memory);
        self.routes.insert(noted.route.clone(), memory);
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn noted(route: &str, stay: Option<&str>, intent: Option<&str>) -> Noted {
        Noted {
            route: route.to_owned(),
            stay: stay.map(str::to_owned),
            model: "m".to_owned(),
            intent: intent.map(str::to_owned),
        }
    }

    #[test]
    fn a_turn_is_counted_and_a_stay_is_kept() {
        let mut memory = SessionMemory::default();
        assert!(memory.note(&noted("r", Some("begin"), Some("complaint"))));
        assert!(memory.note(&noted("r", None, Some("complaint"))));
        assert!(!memory.note(&noted("r", None, None)));
        let read = SessionMemory::read(Some(&memory.write()));
        assert_eq!(read, memory);
        let route = read.of("r");
        assert_eq!(route.stay.as_deref(), Some("begin"));
        assert_eq!(route.counts["complaint"], 2);
        assert_eq!(read.of("other"), RouteMemory::default());
    }

    #[test]
    fn a_document_that_cannot_be_read_is_an_empty_one() {
        for text in [
            None,
            Some(""),
            Some("[]"),
            Some("{\"routes\":3}"),
            Some("{}"),
        ] {
            assert_eq!(
                SessionMemory::read(text),
                SessionMemory::default(),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_document_is_bounded(notes in prop::collection::vec((0_u8..20, 0_u8..80), 0..500)) {
            let mut memory = SessionMemory::default();
            for (route, intent) in &notes {
                memory.note(&noted(&route.to_string(), None, Some(&intent.to_string())));
            }
            prop_assert!(memory.routes.len() <= ROUTES_MAX);
            prop_assert!(memory.write().len() < 32_000);
        }
    }
}
