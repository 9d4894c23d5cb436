//! Watches a service by its numbers: an actor takes a sample each second and opens and closes alerts, each with a plain
//! sentence and the action to take.
//!
//! The rules are pure: they see samples, which carry the time. [`Watch`] applies them, and [`Monitor`] is the actor
//! around it. The crate knows neither HTTP nor models.

mod access;
mod action;
mod alert;
mod daily_load;
mod desk;
mod history;
mod memory;
mod monitor;
mod planner;
mod reference;
mod rule;
mod rules;
mod sample;
mod settings;
mod shares;
mod spoken;
mod watch;

pub use access::Access;
pub use action::{
    Action, ActionKind, ActionSettings, ActionState, Command, Policy, TAKEN_OUT, UndoError,
};
pub use alert::{Alert, AlertChanged, Alerts, Change};
pub use daily_load::{DailyLoad, Peak};
pub use memory::{Habits, Memory, UsualValue};
pub use monitor::{
    CarryOut, ChangeAccess, ChangeSettings, GetAlerts, GetMemory, Monitor, Subscribe, TakeSample,
    Undo,
};
pub use planner::Planner;
pub use reference::reference;
pub use rule::{Rule, Severity};
pub use sample::{
    ActorSample, BudgetSample, FailedCalls, KeySample, LaneSample, ModelSample, Phase, Sample,
    ServerSample, StoreOutage, Times,
};
pub use settings::RuleSettings;
pub use watch::Watch;

/// The README, whose examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
