//! The settings of a route.

mod check;
mod condition;

use std::{collections::BTreeMap, time::Duration};

use kebne_settings::HumanDuration;
use serde::{Deserialize, Serialize};

use crate::{
    facts::InputKind,
    hours::{Day, Hours, UtcOffset},
};

/// The name of the case that no rule matches.
pub(crate) const DEFAULT_RULE: &str = "default";

/// A route: a name that callers use as a model, behind which rules choose the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSettings {
    /// The name in requests and in `GET /v1/models`: printable ASCII characters without spaces and `/`, at most 64; no name or alias of a
    /// model.
    pub name: String,
    /// The model that is called when no rule matches, by its name or an alias.
    pub default: String,
    /// The distance of the times of rules from UTC, such as `+01:00`. It does not follow daylight saving time. Default `+00:00`.
    pub utc_offset: UtcOffset,
    /// The rules, at most 64. The first one that matches decides. Default none.
    pub rules: Vec<RouteRuleSettings>,
    /// The intents, at most 64, with at most 1000 examples together. Default none.
    pub intents: Vec<IntentSettings>,
    /// How near the nearest example must be to a question, as the cosine of their angle, from 0 to 1. Default 0.3.
    pub intent_threshold: f64,
    /// By how much the nearest intent must be nearer than the second one, from 0 to 1. Default 0.05.
    pub intent_margin: f64,
    /// The time for the vector of a question, from 1 ms to 1 min. Without one in time the call has no intent. Default 500 ms.
    pub intent_timeout: HumanDuration,
    /// The model that is asked which intent a question has that is below the threshold or the margin. Default none.
    pub ask_model: Option<String>,
    /// The time for its answer, from 1 ms to 1 min. Without one in time the call has no intent. Default 2 s.
    pub ask_timeout: HumanDuration,
}

/// One rule of a route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RouteRuleSettings {
    /// The name in headers, logs and metrics: printable ASCII characters without spaces and `/`, at most 64; each name once in a route, and
    /// not `default`.
    pub name: String,
    /// What must hold for a call. A rule without conditions matches each call.
    pub when: ConditionSettings,
    /// The model that is called, by its name or an alias. It, `service`, `function` or `agent` is required.
    pub target: Option<String>,
    /// The service that is called in place of a model of the settings.
    pub service: Option<ServiceSettings>,
    /// The function that answers in place of a model.
    pub function: Option<String>,
    /// The agent of the settings that runs in place of a model, by its name.
    pub agent: Option<String>,
    /// `true` if the rest of a session stays with this rule: it then matches whatever its conditions say, and only rules before it are looked
    /// at. Default `false`.
    pub stay: bool,
    /// Another model that gets a share of the calls in place of the target.
    pub canary: Option<CanarySettings>,
    /// Another model that gets copies of a share of the calls. Its answers are measured and thrown away.
    pub shadow: Option<ShadowSettings>,
}

/// The conditions of a rule. All that are set must hold; of a list, one entry must.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionSettings {
    /// Headers that the call must have: a table from name to value, in which `*` stands for any characters. Default none.
    pub headers: BTreeMap<String, String>,
    /// The names of keys, in which `*` stands for any characters. Default none.
    pub keys: Vec<String>,
    /// The tenants of keys, in which `*` stands for any characters. Default none.
    pub tenants: Vec<String>,
    /// The groups to which the key belongs, also indirectly. Default none.
    pub groups: Vec<String>,
    /// The days of the week: `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`. Default none.
    pub days: Vec<Day>,
    /// The time of the day, such as `08:00-17:30`; the end does not belong to it, and it may pass midnight.
    pub hours: Option<Hours>,
    /// The least tokens of the prompt with its history, as estimated.
    pub tokens_min: Option<u64>,
    /// The most tokens of the prompt with its history, as estimated.
    pub tokens_max: Option<u64>,
    /// The languages of the question, as codes such as `de`. A question that does not tell has none. Default none.
    pub languages: Vec<String>,
    /// Whether the call offers tools to the model.
    pub tools: Option<bool>,
    /// Inputs besides text, one of which the call must have: `image`, `audio`, `file`, `video`. Default none.
    pub inputs: Vec<InputKind>,
    /// Whether the caller requests a stream.
    pub stream: Option<bool>,
    /// Whether the call belongs to a session.
    pub session: Option<bool>,
    /// The least turns that the session has, without this one.
    pub turns_min: Option<u64>,
    /// The most turns that the session has, without this one.
    pub turns_max: Option<u64>,
    /// Variables of the session's metadata: a table from name to value, in which `*` stands for any characters. Default none.
    pub variables: BTreeMap<String, String>,
    /// The models to which this route has sent the last turn of the session, one of which it must be. Default none.
    pub last_targets: Vec<String>,
    /// The least share that is left of the fullest budget of the key and its groups, from 0 to 1. Without budgets 1 is left.
    pub budget_left_min: Option<f64>,
    /// The most that is left of the fullest budget of the key and its groups, from 0 to 1.
    pub budget_left_max: Option<f64>,
    /// The intents of the question, one of which it must have. Default none.
    pub intents: Vec<String>,
    /// How many turns of the session, this one included, must have had an intent: a table from intent to number. Default none.
    pub counts: BTreeMap<String, u32>,
}

/// An intent: what callers may want, and how they say it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IntentSettings {
    /// The name by which rules refer to it; each name once in a route.
    pub name: String,
    /// Questions that have it, as callers would write them; 1 to 256, each of at most 1000 bytes.
    pub examples: Vec<String>,
}

/// A service that answers calls in OpenAI's dialect. It becomes a backend and a model of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceSettings {
    /// The base URL, such as `http://127.0.0.1:9000/v1`.
    pub url: String,
    /// The name of its backend and its model here. Default: the names of the route and the rule with a `-` between them.
    pub name: Option<String>,
    /// The model that it is asked for. Default: its name here.
    pub model: Option<String>,
    /// The environment variable with the key for it. Default none.
    pub api_key_env: Option<String>,
}

/// A model that gets a share of the calls of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CanarySettings {
    /// The model, by its name or an alias.
    pub model: String,
    /// The share, from 0 to 1. All calls of a session are on one side; others by their key and question. Default 0.
    pub share: f64,
}

/// A model that gets copies of a share of the calls of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShadowSettings {
    /// The model, by its name or an alias.
    pub model: String,
    /// The share, from 0 to 1. Default 0.
    pub share: f64,
    /// `true` if copies count in the budgets of the caller. Default `false`.
    pub counts: bool,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            default: String::new(),
            utc_offset: UtcOffset::default(),
            rules: Vec::new(),
            intents: Vec::new(),
            intent_threshold: 0.3,
            intent_margin: 0.05,
            intent_timeout: HumanDuration(Duration::from_millis(500)),
            ask_model: None,
            ask_timeout: HumanDuration(Duration::from_secs(2)),
        }
    }
}

impl RouteSettings {
    /// Returns the name of the backend and the model of a rule's service; `None` if the rule has no service.
    pub fn service_name(&self, rule: &RouteRuleSettings) -> Option<String> {
        let service = rule.service.as_ref()?;
        let default = || format!("{}-{}", self.name, rule.name);
        Some(service.name.clone().unwrap_or_else(default))
    }
}
