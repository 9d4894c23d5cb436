//! Checks on what models are asked and what they answer: patterns with checksums, masks, and a window over streamed
//! answers. Pure functions of their arguments: no I/O, no clock.

mod candidate;
mod checksum;
mod expression;
mod folded;
mod guard;
mod pattern;
mod rule;
mod rules;
mod scan;
mod settings;
mod stream;

pub use expression::RuleError;
pub use guard::{Guard, Size};
pub use pattern::Pattern;
pub use rule::Rule;
pub use rules::{Edit, Hit, Hits, Refused, Rules, words};
pub use settings::{
    Action, CheckSettings, GuardRuleSettings, GuardSettings, Side, SizeSettings, WhenGone,
};
pub use stream::{Released, Stopped, StreamGuard};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
