//! The settings of calls whose tools the gateway calls: their bounds, and the servers of a model.

use std::time::Duration;

use kebne_agents::LoopBounds;
use serde::{Deserialize, Serialize};

use crate::settings::{ByteCount, HumanDuration, Settings, SettingsError, Validate, join};

/// The most servers of one model.
const SERVERS_MAX: usize = 32;
/// The shortest and the longest time of a loop.
const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

/// The bounds of a call within which the gateway calls tools for the model: the model is asked again with their results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolLoopSettings {
    /// The most answers of the model in one call; the last one is asked for without calls. 2 to 100. Default 16.
    pub rounds_max: u32,
    /// The most tokens of all of them; 1 to 100000000. Default 200000.
    pub tokens_max: u64,
    /// The time after which the model is not asked again; 1s to 1h. The deadline of the caller holds, too. Default `10m`.
    pub time_max: HumanDuration,
    /// The most calls of tools at once; 1 to 64. Default 4.
    pub parallel_max: usize,
    /// How often the same call may have the same result before the loop is ended; 2 to 100. Default 3.
    pub repeats_max: u32,
    /// The most bytes of a result that the model reads; what follows is cut. 1KiB to 16MiB. Default `64KiB`.
    pub result_size_max: ByteCount,
}

/// The tools that the gateway calls for each call of a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelToolsSettings {
    /// The MCP servers whose tools the model may call, by their names; 1 to 32. A key that must not call a server gets an answer without its tools.
    pub mcp: Vec<String>,
}

impl Default for ToolLoopSettings {
    fn default() -> Self {
        Self {
            rounds_max: 16,
            tokens_max: 200_000,
            time_max: HumanDuration(Duration::from_mins(10)),
            parallel_max: 4,
            repeats_max: 3,
            result_size_max: ByteCount::from_kib(64),
        }
    }
}

impl ToolLoopSettings {
    /// Returns the bounds.
    pub fn bounds(&self) -> LoopBounds {
        LoopBounds {
            steps_max: self.rounds_max,
            tokens_max: self.tokens_max,
            time_max: self.time_max.0,
            parallel_max: self.parallel_max,
            repeats_max: self.repeats_max,
        }
    }
}

impl Validate for ToolLoopSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fits: bool, key: &str, message: &str| {
            if !fits {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let fits = (2..=100).contains(&self.rounds_max);
        require(fits, "rounds_max", "must be 2 to 100");
        let fits = (1..=100_000_000).contains(&self.tokens_max);
        require(fits, "tokens_max", "must be 1 to 100000000");
        let fits = (TIMES.0..=TIMES.1).contains(&self.time_max.0);
        require(fits, "time_max", "must be 1s to 1h");
        let fits = (1..=64).contains(&self.parallel_max);
        require(fits, "parallel_max", "must be 1 to 64");
        let fits = (2..=100).contains(&self.repeats_max);
        require(fits, "repeats_max", "must be 2 to 100");
        let sizes = ByteCount::from_kib(1)..=ByteCount::from_mib(16);
        let fits = sizes.contains(&self.result_size_max);
        require(fits, "result_size_max", "must be 1KiB to 16MiB");
        errors
    }
}

impl Validate for ModelToolsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        if (1..=SERVERS_MAX).contains(&self.mcp.len()) {
            return Vec::new();
        }
        let message = format!("must be the names of 1 to {SERVERS_MAX} MCP servers");
        vec![SettingsError::new(join(path, "mcp"), message)]
    }
}

/// Returns an error for each server of a model that there is not.
pub(in crate::settings) fn unknown_servers(settings: &Settings, path: &str) -> Vec<SettingsError> {
    let servers = || settings.mcp_servers.iter().map(|one| one.name.as_str());
    let mut errors = Vec::new();
    for (index, model) in settings.models.iter().enumerate() {
        let named = model.tools.iter().flat_map(|tools| &tools.mcp);
        for name in named.filter(|name| !servers().any(|one| one == *name)) {
            let at = join(path, &format!("models[{index}].tools.mcp"));
            let message = format!("there is no MCP server named `{name}`");
            let error = SettingsError::new(at, message);
            errors.push(error.with_allowed(servers()).suggesting(name));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_is_named_and_servers_must_be_there() {
        assert!(ToolLoopSettings::default().validate("l").is_empty());
        let wrong = ToolLoopSettings {
            rounds_max: 1,
            tokens_max: 0,
            time_max: HumanDuration(Duration::ZERO),
            parallel_max: 0,
            repeats_max: 1,
            result_size_max: ByteCount::from_mib(17),
        };
        let paths = |errors: Vec<SettingsError>| {
            let paths = errors.into_iter().map(|error| error.path);
            paths.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            paths(wrong.validate("l")),
            "l.rounds_max l.tokens_max l.time_max l.parallel_max l.repeats_max l.result_size_max"
        );
        assert_eq!(paths(ModelToolsSettings::default().validate("m")), "m.mcp");
        let text = "[[models]]\nname = 'm'\n[models.tools]\nmcp = ['files', 'wiki']\n\
            [[mcp_servers]]\nname = 'files'\nurl = 'http://127.0.0.1:1/mcp'";
        let settings: Settings = toml::from_str(text).unwrap();
        let errors = unknown_servers(&settings, "");
        assert!(errors[0].message.contains("`wiki`"));
        assert_eq!(paths(errors), "models[0].tools.mcp");
    }
}
