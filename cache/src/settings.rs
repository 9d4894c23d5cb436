//! The settings of the cache of one model, under `[models.cache]`.

use std::time::Duration;

use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

use crate::canonical::SEARCHES;

/// Settings of the cache of a model's answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheRules {
    /// `true` to answer a call with the kept answer of the same call. Default `false`.
    pub exact: bool,
    /// `true` to answer calls that are the same as one that is running with its answer. It holds only with `exact`. Default `true`.
    pub single_flight: bool,
    /// How long an answer is used; 1 s to 30 days. Default 1 h.
    pub ttl: HumanDuration,
    /// How long an answer that has expired is kept for callers that allow it with `max-stale`; at most 30 days. Default 0 s.
    pub stale_max: HumanDuration,
    /// The highest temperature of a call whose answer is kept; 0 to 2. Default 0: only answers that are meant to be the same each time.
    pub temperature_max: f64,
    /// The temperature that a call without one is taken to have; 0 to 2. Default 1, which is what the API prescribes for servers.
    pub temperature_default: f64,
    /// `true` to keep answers to calls that offer tools. Default `false`: what tools return changes.
    pub tools: bool,
    /// Members of the body that are not part of the key, such as `user`; none on which the answer depends. Default none.
    pub ignored_fields: Vec<String>,
    /// The use of answers to similar questions.
    pub semantic: SemanticRules,
}

/// Who decides whether a kept answer fits a similar question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifierKind {
    /// A threshold that is learned for each group of calls.
    #[default]
    Learned,
    /// A model that is asked each time.
    Judge,
}

/// Settings of the use of answers to similar questions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticRules {
    /// `true` to answer a call with the kept answer to a similar question, all else being equal. Default `false`.
    pub enabled: bool,
    /// The least similarity (cosine) of questions that are considered; 0 to 1. Default 0.8.
    pub similarity_min: f64,
    /// Who decides about them: `learned` or `judge`. Default `learned`.
    pub verifier: VerifierKind,
    /// The model that judges whether two answers say the same, and with `judge` whether an answer fits; one of `[[models]]`. Default
    /// none: answers are compared letter by letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
    /// The share of wrong answers among those that are used, which the learned threshold stays below; 0.001 to 0.2. Default 0.005.
    pub error_max: f64,
    /// The share of calls that could be answered and are asked nevertheless, to learn; 0 to 1. Default 0.05.
    pub explore: f64,
    /// `true` to rule out questions that differ in numbers, negations, names, quotations or language. Default `true`.
    pub lexical: bool,
}

impl Default for CacheRules {
    fn default() -> Self {
        Self {
            exact: false,
            single_flight: true,
            ttl: HumanDuration(Duration::from_hours(1)),
            stale_max: HumanDuration(Duration::ZERO),
            temperature_max: 0.0,
            temperature_default: 1.0,
            tools: false,
            ignored_fields: Vec::new(),
            semantic: SemanticRules::default(),
        }
    }
}

impl Default for SemanticRules {
    fn default() -> Self {
        Self {
            enabled: false,
            similarity_min: 0.8,
            verifier: VerifierKind::Learned,
            judge: None,
            error_max: 0.005,
            explore: 0.05,
            lexical: true,
        }
    }
}

impl CacheRules {
    /// Returns `true` if answers of the model are kept.
    pub fn is_on(&self) -> bool {
        self.exact
    }
}

/// The longest time for which answers are kept.
const TTL_MAX: Duration = Duration::from_hours(30 * 24);

/// Members that carry the question, or that the answer depends on: calls that differ in them are never the same.
const NOT_IGNORED: [&str; 37] = [
    "messages",
    "input",
    "prompt",
    "suffix",
    "system",
    "instructions",
    "previous_response_id",
    "conversation",
    "tools",
    "tool_choice",
    "mcp_servers",
    "functions",
    "function_call",
    "response_format",
    "text",
    "modalities",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "temperature",
    "top_p",
    "top_k",
    "logit_bias",
    "n",
    "best_of",
    "model",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "stop",
    "stop_sequences",
    "seed",
    "dimensions",
    "encoding_format",
    "echo",
    "logprobs",
];

impl Validate for CacheRules {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let fits = (Duration::from_secs(1)..=TTL_MAX).contains(&self.ttl.0);
        require(fits, "ttl", "must be 1s to 30days");
        require(
            self.stale_max.0 <= TTL_MAX,
            "stale_max",
            "must be at most 30days",
        );
        for (key, temperature) in [
            ("temperature_max", self.temperature_max),
            ("temperature_default", self.temperature_default),
        ] {
            require((0.0..=2.0).contains(&temperature), key, "must be 0 to 2");
        }
        for field in &self.ignored_fields {
            let field = field.as_str();
            let is_needed = NOT_IGNORED.contains(&field) || SEARCHES.contains(&field);
            let message =
                format!("must not contain `{field}`: answers to calls that differ in it differ");
            require(!is_needed, "ignored_fields", &message);
        }
        let semantic = &self.semantic;
        let of = |key: &str| format!("semantic.{key}");
        let needs = "needs `exact = true`, because it uses the answers that are kept";
        require(!semantic.enabled || self.exact, &of("enabled"), needs);
        let fits = (0.0..=1.0).contains(&semantic.similarity_min);
        require(fits, &of("similarity_min"), "must be 0 to 1");
        let fits = (0.001..=0.2).contains(&semantic.error_max);
        require(fits, &of("error_max"), "must be 0.001 to 0.2");
        let fits = (0.0..=1.0).contains(&semantic.explore);
        require(fits, &of("explore"), "must be 0 to 1");
        let is_judged = semantic.verifier == VerifierKind::Judge;
        let fits = !is_judged || semantic.judge.is_some();
        require(fits, &of("judge"), "is needed for the verifier `judge`");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_that_an_answer_depends_on_is_ignored() {
        let of = |fields: &[&str]| {
            let rules = CacheRules {
                ignored_fields: fields.iter().map(|field| (*field).to_owned()).collect(),
                ..CacheRules::default()
            };
            rules.validate("c")
        };
        assert!(of(&["user", "metadata", "safety_identifier"]).is_empty());
        for field in NOT_IGNORED.iter().chain(&SEARCHES) {
            let errors = of(&["user", field]);
            assert_eq!(errors.len(), 1, "{field}");
            assert_eq!(errors[0].path, "c.ignored_fields");
            let names_it = errors[0].message.contains(&format!("`{field}`"));
            assert!(names_it, "{}", errors[0].message);
        }
        assert_eq!(of(&["messages", "temperature"]).len(), 2);
    }

    #[test]
    fn the_defaults_are_off_and_valid_and_each_bound_is_named() {
        let default = CacheRules::default();
        assert!(!default.is_on() && !default.semantic.enabled);
        assert!(default.validate("c").is_empty());
        let wrong = CacheRules {
            ttl: HumanDuration(Duration::ZERO),
            stale_max: HumanDuration(Duration::from_hours(10_000)),
            temperature_max: 3.0,
            temperature_default: -1.0,
            semantic: SemanticRules {
                enabled: true,
                similarity_min: 2.0,
                verifier: VerifierKind::Judge,
                error_max: 0.0,
                explore: -1.0,
                ..SemanticRules::default()
            },
            ..default
        };
        let errors = wrong.validate("c");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let keys = [
            "ttl",
            "stale_max",
            "temperature_max",
            "temperature_default",
            "semantic.enabled",
            "semantic.similarity_min",
            "semantic.error_max",
            "semantic.explore",
            "semantic.judge",
        ];
        assert_eq!(paths, keys.map(|key| format!("c.{key}")));
    }
}
