//! Whether the conditions of a rule hold for a call, and if not, which one does not.

use std::{cell::OnceCell, fmt};

use crate::{
    facts::Facts, hours::UtcOffset, intents::Intent, language::language, pattern::fits,
    settings::ConditionSettings,
};

/// A call while rules are looked at.
pub(crate) struct Asked<'a> {
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) intent: &'a Intent,
    pub(crate) offset: UtcOffset,
    language: OnceCell<Option<&'static str>>,
}

/// The condition of a rule that does not hold, and what the call has in its place.
#[derive(Clone, Debug, PartialEq)]
pub enum Unmet {
    /// A header has another value, or the call does not have it (`None`).
    Header(String, Option<String>),
    /// The key has another name.
    Key(String),
    /// The key has another tenant.
    Tenant(String),
    /// The key belongs to other groups.
    Group(Vec<String>),
    /// It is another time of the week.
    Time(String),
    /// The prompt has more or fewer tokens.
    Tokens(u64),
    /// The question is in another language, or does not tell (`None`).
    Language(Option<&'static str>),
    /// The call offers tools, or does not.
    Tools(bool),
    /// The call has none of the inputs.
    Inputs,
    /// The call is streamed, or is not.
    Stream(bool),
    /// The call belongs to a session, or does not.
    Session(bool),
    /// The session has more or fewer turns.
    Turns(u64),
    /// A variable of the session has another value, or is not set (`None`).
    Variable(String, Option<String>),
    /// The last turn was sent to another model, or there was none (`None`).
    LastTarget(Option<String>),
    /// More or less is left of the budget.
    BudgetLeft(f64),
    /// The question has another intent, or none (`None`).
    Intent(Option<String>),
    /// The intent of the question is not known.
    IntentUnknown,
    /// Fewer turns of the session had an intent.
    Count(String, u32),
}

impl<'a> Asked<'a> {
    pub(crate) fn new(facts: &'a Facts<'a>, intent: &'a Intent, offset: UtcOffset) -> Self {
        Self {
            facts,
            intent,
            offset,
            language: OnceCell::new(),
        }
    }

    fn language(&self) -> Option<&'static str> {
        *self.language.get_or_init(|| language(self.facts.question))
    }

    /// Returns how many turns of the session had an intent, this one included if `this_too`.
    pub(crate) fn count(&self, intent: &str, this_too: bool) -> u32 {
        let Some(session) = &self.facts.session else {
            return 0;
        };
        let before = session.memory.counts.get(intent).copied();
        before
            .unwrap_or_default()
            .saturating_add(u32::from(this_too && !self.facts.is_repeated))
    }
}

impl ConditionSettings {
    /// Returns the first condition that does not hold, those of intents left out.
    pub(crate) fn unmet(&self, asked: &Asked<'_>) -> Option<Unmet> {
        self.of_caller(asked)
            .or_else(|| self.of_call(asked))
            .or_else(|| self.of_session(asked))
    }

    /// Returns the first condition of intents that does not hold.
    pub(crate) fn unmet_intent(&self, asked: &Asked<'_>) -> Option<Unmet> {
        let name = asked.intent.name();
        if !self.intents.is_empty() && !self.intents.iter().any(|one| Some(one.as_str()) == name) {
            return Some(match asked.intent {
                Intent::Unknown => Unmet::IntentUnknown,
                Intent::NoneOfThem | Intent::Known(_) => Unmet::Intent(name.map(str::to_owned)),
            });
        }
        if !self.counts.is_empty() && asked.facts.session.is_none() {
            return Some(Unmet::Session(false));
        }
        let mut counts = self.counts.iter();
        counts.find_map(|(intent, least)| {
            let count = asked.count(intent, name == Some(intent.as_str()));
            (count < *least).then(|| Unmet::Count(intent.clone(), count))
        })
    }

    fn of_caller(&self, asked: &Asked<'_>) -> Option<Unmet> {
        let facts = asked.facts;
        for (name, pattern) in &self.headers {
            let lower = name.to_ascii_lowercase();
            // A header that is sent several times has several values.
            if !facts.header(&lower).any(|value| fits(pattern, value)) {
                let values: Vec<&str> = facts.header(&lower).collect();
                let shown = (!values.is_empty()).then(|| values.join(", "));
                return Some(Unmet::Header(name.clone(), shown));
            }
        }
        let lacks = |patterns: &[String], text: &str| {
            !patterns.is_empty() && !patterns.iter().any(|pattern| fits(pattern, text))
        };
        if lacks(&self.keys, facts.key) {
            return Some(Unmet::Key(facts.key.to_owned()));
        }
        if lacks(&self.tenants, facts.tenant) {
            return Some(Unmet::Tenant(facts.tenant.to_owned()));
        }
        if !self.groups.is_empty() && !self.groups.iter().any(|group| facts.groups.contains(group))
        {
            return Some(Unmet::Group(facts.groups.to_vec()));
        }
        // Without budgets all is left.
        let left = facts.budget_left.unwrap_or(1.0);
        let is_less = self.budget_left_min.is_some_and(|least| left < least);
        let is_more = self.budget_left_max.is_some_and(|most| left > most);
        (is_less || is_more).then_some(Unmet::BudgetLeft(left))
    }

    fn of_call(&self, asked: &Asked<'_>) -> Option<Unmet> {
        let facts = asked.facts;
        if !self.days.is_empty() || self.hours.is_some() {
            let time = asked.offset.at(facts.unix_seconds);
            let is_day = self.days.is_empty() || self.days.contains(&time.day);
            if !is_day || self.hours.is_some_and(|hours| !hours.contain(time)) {
                return Some(Unmet::Time(format!("{time} ({})", asked.offset)));
            }
        }
        if is_outside(facts.tokens, self.tokens_min, self.tokens_max) {
            return Some(Unmet::Tokens(facts.tokens));
        }
        if self.tools.is_some_and(|tools| tools != facts.has_tools) {
            return Some(Unmet::Tools(facts.has_tools));
        }
        let has_one = || self.inputs.iter().any(|input| facts.inputs.contains(input));
        if !self.inputs.is_empty() && !has_one() {
            return Some(Unmet::Inputs);
        }
        if self
            .stream
            .is_some_and(|stream| stream != facts.is_streamed)
        {
            return Some(Unmet::Stream(facts.is_streamed));
        }
        if self.languages.is_empty() {
            return None;
        }
        let found = asked.language();
        let is_it = |code: &String| found == Some(code.as_str());
        (!self.languages.iter().any(is_it)).then_some(Unmet::Language(found))
    }

    fn of_session(&self, asked: &Asked<'_>) -> Option<Unmet> {
        let session = asked.facts.session;
        let depends = self.turns_min.is_some()
            || self.turns_max.is_some()
            || !self.variables.is_empty()
            || !self.last_targets.is_empty();
        let wanted = self.session.or(depends.then_some(true));
        if wanted.is_some_and(|wanted| wanted != session.is_some()) {
            return Some(Unmet::Session(session.is_some()));
        }
        let session = session?;
        if is_outside(session.turns, self.turns_min, self.turns_max) {
            return Some(Unmet::Turns(session.turns));
        }
        for (name, pattern) in &self.variables {
            let value = session.variables.get(name);
            if !value.is_some_and(|value| fits(pattern, value)) {
                return Some(Unmet::Variable(name.clone(), value.cloned()));
            }
        }
        let last = &session.memory.last;
        let is_it = |model: &String| last.as_ref() == Some(model);
        if !self.last_targets.is_empty() && !self.last_targets.iter().any(is_it) {
            return Some(Unmet::LastTarget(last.clone()));
        }
        None
    }
}

fn is_outside(value: u64, least: Option<u64>, most: Option<u64>) -> bool {
    least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most)
}

impl fmt::Display for Unmet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name, None) => write!(formatter, "the header `{name}` is missing"),
            Self::Header(name, Some(value)) => {
                write!(formatter, "the header `{name}` is `{value}`")
            }
            Self::Key(name) => write!(formatter, "the key is `{name}`"),
            Self::Tenant(name) => write!(formatter, "the tenant is `{name}`"),
            Self::Group(names) if names.is_empty() => formatter.write_str("the key has no group"),
            Self::Group(names) => write!(formatter, "the groups are `{}`", names.join("`, `")),
            Self::Time(time) => write!(formatter, "it is {time}"),
            Self::Tokens(tokens) => write!(formatter, "the prompt has {tokens} tokens"),
            Self::Language(None) => formatter.write_str("the language is not known"),
            Self::Language(Some(code)) => write!(formatter, "the language is `{code}`"),
            Self::Tools(true) => formatter.write_str("there are tools"),
            Self::Tools(false) => formatter.write_str("there are no tools"),
            Self::Inputs => formatter.write_str("there are none of these inputs"),
            Self::Stream(true) => formatter.write_str("the call is streamed"),
            Self::Stream(false) => formatter.write_str("the call is not streamed"),
            Self::Session(true) => formatter.write_str("the call belongs to a session"),
            Self::Session(false) => formatter.write_str("the call belongs to no session"),
            Self::Turns(turns) => write!(formatter, "the session has {turns} turns"),
            Self::Variable(name, None) => write!(formatter, "the variable `{name}` is not set"),
            Self::Variable(name, Some(value)) => {
                write!(formatter, "the variable `{name}` is `{value}`")
            }
            Self::LastTarget(None) => formatter.write_str("there is no last target"),
            Self::LastTarget(Some(name)) => write!(formatter, "the last target is `{name}`"),
            Self::BudgetLeft(left) => {
                write!(formatter, "{:.1} % of the budget are left", 100.0 * left)
            }
            Self::Intent(None) => formatter.write_str("the question has none of the intents"),
            Self::Intent(Some(name)) => write!(formatter, "the intent is `{name}`"),
            Self::IntentUnknown => formatter.write_str("the intent is not known"),
            Self::Count(intent, count) => {
                write!(formatter, "{count} turns had the intent `{intent}`")
            }
        }
    }
}
