#![doc = include_str!("../README.md")]

mod answer;
mod canonical;
mod directives;
mod freshness;
mod lexical;
mod rules;
mod settings;
mod verifier;
mod words;

pub use answer::{Form, is_complete, same_text, text_of};
pub use canonical::{Canonical, Facts, Key, Place, Unreadable};
pub use directives::Directives;
pub use freshness::{Freshness, freshness};
pub use lexical::{Difference, difference};
pub use rules::{Bypass, Call, may_cache};
pub use settings::{CacheRules, SemanticRules, VerifierKind};
pub use verifier::{Decision, Observation, Verifier};
