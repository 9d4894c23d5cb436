//! What an agent is: its instructions, its model, its tools, and the bounds of its runs.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use kebne_quota::Money;
use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

/// The longest name, so that the name of the tool that calls the agent has at most 64 characters.
const NAME_MAX: usize = 48;
/// The longest instructions, in bytes.
const INSTRUCTIONS_MAX: usize = 64 << 10;
/// The longest description, in bytes.
const DESCRIPTION_MAX: usize = 1024;
/// The most names in each list.
const NAMES_MAX: usize = 32;
/// The shortest and the longest time of a run.
const TIMES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24));

/// The name of the tool that searches the collections of an agent.
pub const SEARCH: &str = "search";
/// The name of the tool that asks a human.
pub const ASK_HUMAN: &str = "ask_human";
/// The beginning of the names of tools that give a task to another agent.
pub(crate) const ASK_PREFIX: &str = "ask_";
/// The beginning of the names of tools that hand the conversation to another agent.
pub(crate) const HAND_PREFIX: &str = "hand_to_";
/// The longest name that models accept for a tool.
const TOOL_NAME_MAX: usize = 64;

/// An agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSpec {
    /// The name in requests, and as a model: 1 to 48 letters, digits, `_` and `-`; not `human`.
    pub name: String,
    /// What it can do, for other agents; at most 1024 bytes. Default none.
    pub description: String,
    /// The model that it asks, by its name, an alias, or the name of a route.
    pub model: String,
    /// What the model is told first; at most 64 KiB. Default none.
    pub instructions: String,
    /// The tools of the program that it may call, by their names; at most 32. Default none.
    pub tools: Vec<String>,
    /// The collections in which it may search, by their ids; at most 32. With one at least it has the tool `search`. Default none.
    pub collections: Vec<String>,
    /// Other agents that it may give tasks to, by their names; at most 32. Each is a tool `ask_NAME`. Default none.
    pub agents: Vec<String>,
    /// Who decides about the tasks of `agents`: `ask` has the model give them, `vote` and `merge` give the input to each of them at once. The answer is then
    /// the most frequent one (`vote`), or what the model makes of all of them (`merge`). Default `ask`.
    pub combine: Combine,
    /// Other agents that it may hand the conversation to, by their names; at most 32. Each is a tool `hand_to_NAME`. Default none.
    pub hand_offs: Vec<String>,
    /// Tools that are called only after a human has approved the call: names of `tools`, `search`, `ask_NAME` and `hand_to_NAME`. Default none.
    pub ask: Vec<String>,
    /// `true` to give it the tool `ask_human`, whose calls a human answers. Default `false`.
    pub ask_human: bool,
    /// What is done about a call that was being carried out when the process ended, of a tool that must not be repeated: `report` tells the model that
    /// it is unknown whether it was carried out, `hold` waits until a human decides. Default `report`.
    pub unknown: OnUnknown,
    /// The most answers of models in one run; 1 to 1000. Default 20.
    pub steps_max: u32,
    /// The most tokens of one run, those of agents that it gives tasks to included; 1 to 100000000. Default 200000.
    pub tokens_max: u64,
    /// The most that one run may cost, in units of the currency. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_max: Option<Money>,
    /// The time for a run, without the waits for humans; 1s to 1day. Default 10m.
    pub time_max: HumanDuration,
    /// The most tools that are called at once; 1 to 64. Default 4.
    pub parallel_max: usize,
    /// How often the same call may have the same result before the run is ended as a loop; 2 to 100. Default 3.
    pub repeats_max: u32,
    /// The time for one call of a tool, without the waits for humans and for other agents; 1s to 1day. Default 1m.
    pub tool_time_max: HumanDuration,
}

/// What is made of the answers of the agents of a team.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// The model gives tasks as it sees fit.
    #[default]
    Ask,
    /// Each gets the input; the most frequent answer counts.
    Vote,
    /// Each gets the input; the model makes one answer of theirs.
    Merge,
}

/// What is done about a call of which it is not known whether it was carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// The model is told so.
    #[default]
    Report,
    /// A human decides.
    Hold,
}

impl Default for AgentSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            model: String::new(),
            instructions: String::new(),
            tools: Vec::new(),
            collections: Vec::new(),
            agents: Vec::new(),
            combine: Combine::Ask,
            hand_offs: Vec::new(),
            ask: Vec::new(),
            ask_human: false,
            unknown: OnUnknown::Report,
            steps_max: 20,
            tokens_max: 200_000,
            cost_max: None,
            time_max: HumanDuration(Duration::from_mins(10)),
            parallel_max: 4,
            repeats_max: 3,
            tool_time_max: HumanDuration(Duration::from_mins(1)),
        }
    }
}

impl AgentSpec {
    /// Creates an agent with default bounds.
    pub fn new(name: &str, model: &str, instructions: &str) -> Self {
        Self {
            name: name.to_owned(),
            model: model.to_owned(),
            instructions: instructions.to_owned(),
            ..Self::default()
        }
    }

    /// Gives it a tool of the program.
    #[must_use]
    pub fn tool(mut self, name: &str) -> Self {
        self.tools.push(name.to_owned());
        self
    }

    /// Lets it give tasks to another agent.
    #[must_use]
    pub fn agent(mut self, name: &str) -> Self {
        self.agents.push(name.to_owned());
        self
    }

    /// Lets it hand the conversation to another agent.
    #[must_use]
    pub fn hand_off(mut self, name: &str) -> Self {
        self.hand_offs.push(name.to_owned());
        self
    }
}

/// Returns the name under which models are offered a tool of the program: characters other than letters, digits, `_` and `-` become `_`, and the first
/// 64 are kept.
pub fn offered_name(tool: &str) -> Cow<'_, str> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if tool.len() <= TOOL_NAME_MAX && tool.chars().all(is_plain) {
        return Cow::Borrowed(tool);
    }
    let chars = tool.chars().take(TOOL_NAME_MAX);
    chars
        .map(|char| if is_plain(char) { char } else { '_' })
        .collect()
}

impl AgentSpec {
    /// Returns `true` if a human must approve the calls of a tool that is offered under this name.
    pub(crate) fn asks_before(&self, offered: &str) -> bool {
        let mut asked = self.ask.iter();
        asked.any(|name| name == offered || offered_name(name) == offered)
    }

    /// Returns the names under which its tools are offered, each with the setting that it comes from.
    fn offered(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let tools = self.tools.iter().map(|name| ("tools", offered_name(name)));
        let search = (!self.collections.is_empty()).then_some(("collections", SEARCH.into()));
        let human = self.ask_human.then_some(("ask_human", ASK_HUMAN.into()));
        let named = |key, prefix: &'static str, names: &'_ [String]| {
            let names = names.iter();
            let names = names.map(move |name| (key, Cow::Owned(format!("{prefix}{name}"))));
            names.collect::<Vec<_>>()
        };
        let tasks = named("agents", ASK_PREFIX, &self.agents);
        let hands = named("hand_offs", HAND_PREFIX, &self.hand_offs);
        tools.chain(search).chain(human).chain(tasks).chain(hands)
    }

    /// Returns an error for each name that two tools would have, and for each name of `ask` that no tool has.
    fn tool_errors(&self) -> Vec<(&'static str, String)> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        for (key, name) in self.offered() {
            if !names.insert(name.clone()) {
                let message = format!("two tools would be offered as `{name}`");
                errors.push((key, message));
            }
        }
        let is_known =
            |name: &str| names.contains(name) || names.contains(offered_name(name).as_ref());
        if let Some(name) = self.ask.iter().find(|name| !is_known(name)) {
            errors.push(("ask", format!("the agent has no tool `{name}`")));
        }
        errors
    }
}

/// Returns `true` if agents may have this name.
pub fn is_agent_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain) && name != "human"
}

impl Validate for AgentSpec {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let message = "must be 1 to 48 letters, digits, `_` and `-`, and not `human`";
        require(is_agent_name(&self.name), "name", message);
        require(!self.model.is_empty(), "model", "a model is needed");
        require(
            self.model != self.name,
            "model",
            "must not be the agent itself",
        );
        let fits = self.description.len() <= DESCRIPTION_MAX;
        require(fits, "description", "must have at most 1024 bytes");
        let fits = self.instructions.len() <= INSTRUCTIONS_MAX;
        require(fits, "instructions", "must have at most 64 KiB");
        for (key, names) in [
            ("tools", &self.tools),
            ("collections", &self.collections),
            ("agents", &self.agents),
            ("hand_offs", &self.hand_offs),
            ("ask", &self.ask),
        ] {
            let different: BTreeSet<&String> = names.iter().collect();
            let fits = names.len() <= NAMES_MAX && names.iter().all(|name| !name.is_empty());
            require(fits, key, "must be at most 32 names");
            let fits = different.len() == names.len();
            require(fits, key, "must not have a name twice");
        }
        let has_team = self.combine == Combine::Ask || self.agents.len() >= 2;
        require(has_team, "combine", "needs two `agents` at least");
        let is_other = |names: &[String]| !names.contains(&self.name);
        require(is_other(&self.agents), "agents", "must be other agents");
        require(
            is_other(&self.hand_offs),
            "hand_offs",
            "must be other agents",
        );
        for (key, number, least, most) in [
            ("steps_max", u64::from(self.steps_max), 1, 1000),
            ("tokens_max", self.tokens_max, 1, 100_000_000),
            ("parallel_max", self.parallel_max as u64, 1, 64),
            ("repeats_max", self.repeats_max.into(), 2, 100),
        ] {
            let message = format!("must be {least} to {most}");
            require((least..=most).contains(&number), key, &message);
        }
        for (key, time) in [
            ("time_max", self.time_max),
            ("tool_time_max", self.tool_time_max),
        ] {
            let fits = (TIMES.0..=TIMES.1).contains(&time.0);
            require(fits, key, "must be 1s to 1day");
        }
        let tools = self.tool_errors().into_iter();
        errors.extend(tools.map(|(key, message)| SettingsError::new(join(path, key), message)));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(spec: &AgentSpec) -> Vec<String> {
        let errors = spec.validate("agents[0]").into_iter();
        errors
            .map(|error| format!("{}: {}", error.path, error.message))
            .collect()
    }

    #[test]
    fn a_name_of_ask_that_no_tool_has_is_an_error() {
        let mut spec = AgentSpec::new("a", "m", "").tool("f.dot").tool("f_echo");
        spec.collections = vec!["c".to_owned()];
        spec = spec.agent("b").hand_off("d");
        for name in ["f.dot", "f_dot", "f_echo", "search", "ask_b", "hand_to_d"] {
            spec.ask = vec![name.to_owned()];
            assert_eq!(errors(&spec), [""; 0], "{name}");
        }
        for name in ["f_ehco", "f", "ask_d", "ask_human", "b"] {
            spec.ask = vec!["f_echo".to_owned(), name.to_owned()];
            let expected = format!("agents[0].ask: the agent has no tool `{name}`");
            assert_eq!(errors(&spec), [expected], "{name}");
        }
    }

    #[test]
    fn two_tools_are_not_offered_under_one_name() {
        let spec = AgentSpec::new("a", "m", "");
        let mut all = spec.clone().agent("human_2");
        all.ask_human = true;
        assert_eq!(errors(&all), [""; 0]);
        let long = "x".repeat(64);
        let mut human = spec.clone().tool("ask_human");
        human.ask_human = true;
        let mut search = spec.clone().tool("search");
        search.collections = vec!["c".to_owned()];
        for (spec, key, name) in [
            (spec.clone().tool("f.dot").tool("f_dot"), "tools", "f_dot"),
            (
                spec.clone()
                    .tool(&format!("{long}1"))
                    .tool(&format!("{long}2")),
                "tools",
                &*long,
            ),
            (search, "collections", "search"),
            (human, "ask_human", "ask_human"),
            (spec.clone().tool("ask_b").agent("b"), "agents", "ask_b"),
            (
                spec.clone().tool("hand_to_b").hand_off("b"),
                "hand_offs",
                "hand_to_b",
            ),
        ] {
            let expected = format!("agents[0].{key}: two tools would be offered as `{name}`");
            assert_eq!(errors(&spec), [expected]);
        }
    }

    #[test]
    fn each_bound_of_an_agent_is_named() {
        let good = AgentSpec::new("helper", "m", "Help.")
            .tool("clock")
            .agent("other");
        assert!(good.validate("").is_empty());
        let wrong = AgentSpec {
            name: "human".to_owned(),
            description: "x".repeat(1025),
            instructions: "x".repeat((64 << 10) + 1),
            tools: vec!["a".to_owned(), "a".to_owned()],
            collections: vec![String::new()],
            agents: vec!["human".to_owned()],
            combine: Combine::Vote,
            hand_offs: vec!["human".to_owned()],
            steps_max: 0,
            tokens_max: 0,
            time_max: HumanDuration(Duration::ZERO),
            parallel_max: 65,
            repeats_max: 1,
            tool_time_max: HumanDuration(Duration::from_hours(25)),
            ..AgentSpec::default()
        };
        let keys: Vec<String> = wrong
            .validate("agents[0]")
            .into_iter()
            .map(|error| error.path.replace("agents[0].", ""))
            .collect();
        let expected = [
            "name",
            "model",
            "description",
            "instructions",
            "tools",
            "collections",
            "combine",
            "agents",
            "hand_offs",
            "steps_max",
            "tokens_max",
            "parallel_max",
            "repeats_max",
            "time_max",
            "tool_time_max",
            "tools",
        ];
        assert_eq!(keys, expected);
        assert!(!is_agent_name("a b") && !is_agent_name("") && is_agent_name("a-b_9"));
    }
}
