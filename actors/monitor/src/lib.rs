//! Watches a service by its numbers: an actor takes a sample each second and opens and closes alerts, each with a plain
//! sentence and the action to take.
//!
//! The rules are pure: they see samples, which carry the time. [`Watch`] applies them, and [`Monitor`] is the actor
//! around it. The crate knows neither HTTP nor models.

mod alert;
mod daily_load;
mod desk;
mod history;
mod monitor;
mod reference;
mod rule;
mod rules;
mod sample;
mod settings;
mod watch;

pub use alert::{Alert, AlertChanged, Alerts, Change};
pub use daily_load::{DailyLoad, Peak};
pub use monitor::{GetAlerts, Monitor, Subscribe, TakeSample};
pub use reference::reference;
pub use rule::{Rule, Severity};
pub use sample::{ActorSample, LaneSample, Phase, Sample};
pub use settings::RuleSettings;
pub use watch::Watch;

/// The README, whose examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
