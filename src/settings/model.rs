//! Models that callers may request, and the backends that serve them.

use std::{collections::BTreeMap, time::Duration};

use kebne_quota::Price;
use serde::{Deserialize, Serialize};

use crate::settings::{
    CacheRules, FallbackSettings, HumanDuration, SettingsError, Validate, join,
    mcp::ModelToolsSettings,
    replicas::{Affinity, Balance, Replicas},
    retrieval::ModelRetrievalSettings,
    token_budget,
};

/// One model that callers may request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// The name in requests and in `GET /v1/models`. Default `simulated`.
    pub name: String,
    /// Other names for the same model. Default none.
    pub aliases: Vec<String>,
    /// Backends in order of preference; the next one is used if one cannot serve. A list in the place of a name is a
    /// group of replicas, which are used as equals. Default `["simulated"]`.
    pub backends: Vec<Replicas>,
    /// How calls are divided among replicas: `least_loaded` or `weighted`. Default `least_loaded`.
    pub balance: Balance,
    /// Shares of replicas relative to the others of their group, from 0.001 to 1000: a table from backend name to
    /// weight; a backend that is not named has 1. Default none.
    pub weights: BTreeMap<String, f64>,
    /// Calls that stay with one replica, because it has cached their beginning: those of a session (`session`), those
    /// whose prompts begin alike (`prefix`), or none (`none`). Default `none`.
    pub affinity: Affinity,
    /// The wait that a call accepts to stay with its replica although another would send it earlier, from 0 s to 1 min.
    /// Default 500 ms.
    pub affinity_wait: HumanDuration,
    /// `true` to wake a replica that sleeps when those that are awake have more calls than slots. Default `true`.
    pub wake_replicas: bool,
    /// The reasons for which calls go to the next backend, and the wait before they do.
    pub fallback: FallbackSettings,
    /// The name of this model at a backend, if it is not `name`: a table from backend name to model name. Default
    /// none.
    pub upstream: BTreeMap<String, String>,
    /// The price of its tokens, at backends without a price of their own. Default none: calls have no cost.
    pub price: Option<Price>,
    /// The guards whose checks its calls must pass, by their names. Default none.
    pub guards: Vec<String>,
    /// Which answers are kept, and when they are used.
    pub cache: CacheRules,
    /// The tokens that a call and its answer can have together, 256 to 100000000. It takes the place of
    /// `token_budget.window`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// The collections in which each of its calls searches. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<ModelRetrievalSettings>,
    /// The tools that the gateway calls for each of its calls. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<ModelToolsSettings>,
    /// `true` for the model that stands for a function, or for a backend beside functions. It is not written.
    #[serde(skip)]
    pub is_made: bool,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            name: "simulated".to_owned(),
            aliases: Vec::new(),
            backends: vec![Replicas::from("simulated")],
            balance: Balance::default(),
            weights: BTreeMap::new(),
            affinity: Affinity::default(),
            affinity_wait: HumanDuration(Duration::from_millis(500)),
            wake_replicas: true,
            fallback: FallbackSettings::default(),
            upstream: BTreeMap::new(),
            price: None,
            guards: Vec::new(),
            cache: CacheRules::default(),
            context_window: None,
            retrieval: None,
            tools: None,
            is_made: false,
        }
    }
}

impl ModelSettings {
    /// Returns the names of all backends, in order of preference.
    pub fn backend_names(&self) -> impl Iterator<Item = &String> {
        self.backends.iter().flat_map(Replicas::names)
    }

    /// Returns an error for each backend that is listed more than once, and each empty group.
    fn list_errors(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut seen = Vec::new();
        for (index, group) in self.backends.iter().enumerate() {
            let at = join(path, &format!("backends[{index}]"));
            if group.names().len() == 0 {
                let message = "a group needs at least one backend";
                errors.push(SettingsError::new(&at, message));
            }
            for name in group.names() {
                if seen.contains(&name) {
                    let message = format!("`{name}` is listed more than once");
                    errors.push(SettingsError::new(&at, message));
                }
                seen.push(name);
            }
        }
        errors
    }

    /// Returns an error for each key of a table of backends that is not one of this model.
    fn key_errors<'a>(
        &self,
        path: &str,
        keys: impl Iterator<Item = &'a String>,
    ) -> Vec<SettingsError> {
        let known: Vec<_> = self.backend_names().cloned().collect();
        let unknown = keys.filter(|key| !known.contains(key));
        let errors = unknown.map(|key| {
            let message = format!("`{key}` is not among the model's backends");
            SettingsError::new(join(path, key), message)
                .with_allowed(known.iter().cloned())
                .suggesting(key)
        });
        errors.collect()
    }
}

impl Validate for ModelSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if self.name.is_empty() {
            errors.push(SettingsError::new(join(path, "name"), "must not be empty"));
        }
        if self.backends.is_empty() {
            errors.push(SettingsError::new(
                join(path, "backends"),
                "at least one backend is needed",
            ));
        }
        errors.extend(self.list_errors(path));
        errors.extend(self.key_errors(&join(path, "upstream"), self.upstream.keys()));
        let weights = join(path, "weights");
        errors.extend(self.key_errors(&weights, self.weights.keys()));
        for (name, weight) in &self.weights {
            if !(0.001..=1000.0).contains(weight) {
                let message = format!("{weight} is not from 0.001 to 1000");
                errors.push(SettingsError::new(join(&weights, name), message));
            }
        }
        let price = self.price.as_ref();
        errors.extend(price.map_or_else(Vec::new, |price| price.validate(&join(path, "price"))));
        errors.extend(self.fallback.validate(&join(path, "fallback")));
        errors.extend(self.cache.validate(&join(path, "cache")));
        if self.affinity_wait.0 > Duration::from_mins(1) {
            let message = "must be at most 1m";
            errors.push(SettingsError::new(join(path, "affinity_wait"), message));
        }
        let window = self.context_window;
        if window.is_some_and(|window| !token_budget::WINDOW.contains(&window)) {
            let message = "must be 256 to 100000000";
            errors.push(SettingsError::new(join(path, "context_window"), message));
        }
        let retrieval = self.retrieval.as_ref();
        let of_retrieval = retrieval.map(|own| own.validate(&join(path, "retrieval")));
        errors.extend(of_retrieval.unwrap_or_default());
        let tools = self.tools.as_ref();
        let of_tools = tools.map(|own| own.validate(&join(path, "tools")));
        errors.extend(of_tools.unwrap_or_default());
        errors
    }
}
