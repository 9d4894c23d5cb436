//! The router: rules, intents by margin, canary and shadow by share, and the reasons of a decision. Pure functions of their
//! arguments: no I/O, no clock, no chance.

mod condition;
mod facts;
mod hours;
mod intents;
mod language;
mod memory;
mod pattern;
mod router;
mod settings;
mod share;

pub use condition::Unmet;
pub use facts::{Facts, InputKind, SessionFacts};
pub use hours::{Day, Hours, UtcOffset};
pub use intents::{Intent, IntentIndex, NearestIntent, Verdict};
pub use language::{LANGUAGES, language};
pub use memory::{Noted, RouteMemory, SessionMemory};
pub use router::{Decision, Look, Router, ShadowCopy, Target};
pub use settings::{
    CanarySettings, ConditionSettings, IntentSettings, RouteRuleSettings, RouteSettings,
    ServiceSettings, ShadowSettings,
};
pub use share::identity;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
