//! The decision of a route.

use crate::{
    condition::{Asked, Unmet},
    facts::Facts,
    intents::Intent,
    memory::Noted,
    settings::{DEFAULT_RULE, RouteRuleSettings, RouteSettings},
    share::selects,
};

/// Chooses the models of the calls of one route.
#[derive(Clone, Debug)]
pub struct Router {
    settings: RouteSettings,
    /// What each rule leads to.
    targets: Vec<Target>,
    default: Target,
    /// The names of the headers that conditions name, in lower case.
    headers: Vec<String>,
    /// `true` if a rule counts intents.
    counts: bool,
}

/// What a decision leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A model of the settings, by the name that the route gives it.
    Model(String),
    /// A service in OpenAI's dialect, by the name of the model that stands for it.
    Service(String),
    /// A function, by its name.
    Function(String),
    /// An agent, by its name, which is that of the model that stands for it.
    Agent(String),
}

/// What was found when a rule was looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// A condition does not hold.
    Unmet(Unmet),
    /// All conditions hold.
    Matches,
    /// The session stays with the rule.
    Stays,
}

/// A copy of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowCopy<'r> {
    /// The model that gets it.
    pub model: &'r str,
    /// `true` if it counts in the budgets of the caller.
    pub counts: bool,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'r> {
    /// The rule that decided; `default` if none matched.
    pub rule: &'r str,
    /// What the rule leads to.
    pub target: &'r Target,
    /// The model that is called: that of the target, or the canary.
    pub model: &'r str,
    /// `true` if the model is the rule's canary.
    pub is_canary: bool,
    /// `true` if the session stays with the rule of an earlier turn.
    pub is_stay: bool,
    /// `true` if the session stays with the rule from now on.
    pub stays: bool,
    /// The copy of the call.
    pub shadow: Option<ShadowCopy<'r>>,
}

impl Target {
    /// Returns the model that is called.
    pub fn model(&self) -> &str {
        match self {
            Self::Model(name) | Self::Service(name) | Self::Function(name) | Self::Agent(name) => {
                name
            }
        }
    }

    /// Returns the kind in explanations.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Model(_) => "model",
            Self::Service(_) => "service",
            Self::Function(_) => "function",
            Self::Agent(_) => "agent",
        }
    }
}

impl Router {
    /// Creates the router of a route, whose settings were checked.
    pub fn new(settings: RouteSettings) -> Self {
        let target = |rule: &RouteRuleSettings| match (
            settings.service_name(rule),
            &rule.function,
            &rule.agent,
        ) {
            (Some(name), ..) => Target::Service(name),
            (None, Some(name), _) => Target::Function(name.clone()),
            (None, None, Some(agent)) => Target::Agent(agent.clone()),
            (None, None, None) => Target::Model(
                rule.target
                    .clone()
                    .unwrap_or_else(|| settings.default.clone()),
            ),
        };
        let rules = &settings.rules;
        let mut headers: Vec<String> = rules
            .iter()
            .flat_map(|rule| rule.when.headers.keys())
            .map(|name| name.to_ascii_lowercase())
            .collect();
        headers.sort();
        headers.dedup();
        Self {
            targets: rules.iter().map(target).collect(),
            default: Target::Model(settings.default.clone()),
            counts: rules.iter().any(|rule| !rule.when.counts.is_empty()),
            headers,
            settings,
        }
    }

    /// Returns the settings.
    pub fn settings(&self) -> &RouteSettings {
        &self.settings
    }

    /// Returns the names of the headers that conditions name, in lower case.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// Returns the models that decisions can lead to, canaries included; a model may be there more than once.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        let canaries = self.settings.rules.iter();
        let canaries = canaries.filter_map(|rule| Some(rule.canary.as_ref()?.model.as_str()));
        let targets = self.targets.iter().chain([&self.default]);
        targets.map(Target::model).chain(canaries)
    }

    /// Returns `true` if a rule depends on what is left of budgets.
    pub fn reads_budgets(&self) -> bool {
        let mut conditions = self.settings.rules.iter().map(|rule| &rule.when);
        conditions.any(|when| when.budget_left_min.is_some() || when.budget_left_max.is_some())
    }

    /// Returns `true` if the decision depends on the intent of the question: a rule that names intents is reached, or intents of the session
    /// are counted.
    pub fn needs_intent(&self, facts: &Facts<'_>) -> bool {
        if self.settings.intents.is_empty() || facts.question.is_empty() {
            return false;
        }
        if self.counts && facts.session.is_some() {
            return true;
        }
        let asked = Asked::new(facts, &Intent::Unknown, self.settings.utc_offset);
        let stay = self.stay(facts);
        for (place, rule) in self.settings.rules.iter().enumerate() {
            if stay == Some(place) {
                return false;
            }
            if rule.when.unmet(&asked).is_some() {
                continue;
            }
            if !rule.when.intents.is_empty() {
                return true;
            }
            if rule.when.unmet_intent(&asked).is_none() {
                return false;
            }
        }
        false
    }

    /// Decides on a call. `look` is told what was found of each rule that was looked at, in their order.
    pub fn decide(
        &self,
        facts: &Facts<'_>,
        intent: &Intent,
        look: &mut dyn FnMut(&str, Look),
    ) -> Decision<'_> {
        let asked = Asked::new(facts, intent, self.settings.utc_offset);
        let stay = self.stay(facts);
        let rules = self.settings.rules.iter().zip(&self.targets);
        for (place, (rule, target)) in rules.enumerate() {
            if stay == Some(place) {
                look(&rule.name, Look::Stays);
                return self.by_rule(rule, target, facts, true);
            }
            let unmet = rule.when.unmet(&asked);
            if let Some(unmet) = unmet.or_else(|| rule.when.unmet_intent(&asked)) {
                look(&rule.name, Look::Unmet(unmet));
                continue;
            }
            look(&rule.name, Look::Matches);
            return self.by_rule(rule, target, facts, false);
        }
        Decision {
            rule: DEFAULT_RULE,
            target: &self.default,
            model: self.default.model(),
            is_canary: false,
            is_stay: false,
            stays: false,
            shadow: None,
        }
    }

    /// Returns what the session is to remember of a decision.
    pub fn noted(&self, facts: &Facts<'_>, decision: &Decision<'_>, intent: &Intent) -> Noted {
        let counted = intent.name().filter(|_| self.counts && !facts.is_repeated);
        Noted {
            route: self.settings.name.clone(),
            stay: decision.stays.then(|| decision.rule.to_owned()),
            model: decision.model.to_owned(),
            intent: counted.map(str::to_owned),
        }
    }

    /// Returns the place of the rule with which the session stays. One that is gone, or keeps no session any more, is forgotten.
    fn stay(&self, facts: &Facts<'_>) -> Option<usize> {
        let name = facts.session.as_ref()?.memory.stay.as_ref()?;
        let mut rules = self.settings.rules.iter();
        rules.position(|rule| rule.stay && rule.name == *name)
    }

    fn by_rule<'r>(
        &'r self,
        rule: &'r RouteRuleSettings,
        target: &'r Target,
        facts: &Facts<'_>,
        is_stay: bool,
    ) -> Decision<'r> {
        let is_in = |share: f64, purpose: &str| {
            let purpose = [self.settings.name.as_str(), &rule.name, purpose];
            selects(share, facts.identity, &purpose)
        };
        let canary = rule.canary.as_ref();
        let canary = canary.filter(|canary| is_in(canary.share, "canary"));
        let shadow = rule.shadow.as_ref();
        let shadow = shadow.filter(|shadow| is_in(shadow.share, "shadow"));
        Decision {
            rule: &rule.name,
            target,
            model: canary.map_or(target.model(), |canary| &canary.model),
            is_canary: canary.is_some(),
            is_stay,
            stays: rule.stay && facts.session.is_some(),
            shadow: shadow.map(|shadow| ShadowCopy {
                model: &shadow.model,
                counts: shadow.counts,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
