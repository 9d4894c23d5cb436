//! An entrant of the comparison: a law, with or without the lane's knowledge of cold starts and quotas.
//!
//! A published limiter does not distinguish the reasons of refusals. A baseline therefore runs *bare*: the queue,
//! deadlines, holds and retry budget are the same, but it receives a loading answer or a quota refusal as a plain
//! refusal, and `Retry-After` becomes a pause. The entrant `name+` receives all of them unchanged.

use std::time::Duration;

use kebne_control::{
    ControllerSettings, Grant, Order, Outcome, Permission, PoolSettings, QuotaHints, Timestamp,
    Without,
};

use crate::sim::laws::Law;
use crate::sim::scenario::Scenario;

/// One law in the comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    pub(crate) law: Law,
    pub(crate) initial: u32,
    /// `true` if refusals are passed on without their reason.
    pub(crate) bare: bool,
    /// `true` if the limit is the true capacity of the backend, which gives the result of the same lane with a perfect
    /// law.
    pub(crate) told: bool,
    /// `true` if the gateways share the backend by leases.
    pub(crate) shared: bool,
    /// The order of the queue.
    pub(crate) order: Order,
    /// Hedges per success; 0 for none.
    pub(crate) hedges: f64,
    /// Refusals per success that trials may cost; `None` for the default.
    pub(crate) exploration: Option<f64>,
    /// The parts of the law that are taken out.
    pub(crate) without: Without,
}

/// The whole law.
const NOTHING: Without = Without::nothing();

const fn bare(name: &'static str, law: Law, initial: u32) -> Entrant {
    Entrant {
        name,
        law,
        initial,
        bare: true,
        told: false,
        shared: false,
        order: Order::Fifo,
        hedges: 0.0,
        exploration: None,
        without: NOTHING,
    }
}

const fn full(name: &'static str, law: Law, initial: u32) -> Entrant {
    Entrant {
        name,
        law,
        initial,
        bare: false,
        told: false,
        shared: false,
        order: Order::Fifo,
        hedges: 0.0,
        exploration: None,
        without: NOTHING,
    }
}

/// Returns the entrant with a queue that is served newest first under overload.
const fn newest(entrant: Entrant, name: &'static str) -> Entrant {
    Entrant {
        name,
        order: Order::NewestFirst,
        ..entrant
    }
}

/// Returns the entrant whose gateways share the backend by leases.
const fn sharing(entrant: Entrant, name: &'static str) -> Entrant {
    Entrant {
        name,
        shared: true,
        ..entrant
    }
}

/// Returns the entrant with hedging.
const fn hedged(entrant: Entrant, name: &'static str) -> Entrant {
    Entrant {
        name,
        hedges: 0.05,
        ..entrant
    }
}

/// Returns the entrant with another budget for trials.
const fn exploring(entrant: Entrant, name: &'static str, exploration: f64) -> Entrant {
    Entrant {
        name,
        exploration: Some(exploration),
        ..entrant
    }
}

/// All entrants, the controller first.
pub(crate) const ENTRANTS: &[Entrant] = &[
    full("kebne", Law::Adaptive, 2),
    bare("fixed", Law::Fixed, 16),
    bare("aimd", Law::Aimd, 4),
    bare("seed", Law::Seed, 8),
    bare("vegas", Law::Vegas, 4),
    bare("gradient2", Law::Gradient2, 4),
    bare("vector", Law::Vector, 1),
    bare("aws", Law::Aws, 4),
    bare("sre", Law::Sre, 4),
    full("fixed+", Law::Fixed, 16),
    full("gradient2+", Law::Gradient2, 4),
    full("vector+", Law::Vector, 1),
    full("aimd+", Law::Aimd, 4),
    Entrant {
        name: "told",
        law: Law::Fixed,
        initial: 2,
        bare: false,
        told: true,
        shared: false,
        order: Order::Fifo,
        hedges: 0.0,
        exploration: None,
        without: NOTHING,
    },
    sharing(full("kebne", Law::Adaptive, 2), "kebne-shared"),
    newest(full("kebne", Law::Adaptive, 2), "kebne-newest"),
    hedged(full("kebne", Law::Adaptive, 2), "kebne-hedged"),
    exploring(full("kebne", Law::Adaptive, 2), "kebne-0.003", 0.003),
    exploring(full("kebne", Law::Adaptive, 2), "kebne-0.01", 0.01),
    exploring(full("kebne", Law::Adaptive, 2), "kebne-0.1", 0.1),
];

/// The names of the entrants that are compared by default.
pub(crate) const DEFAULT: &[&str] = &[
    "kebne",
    "fixed",
    "seed",
    "aimd",
    "vegas",
    "gradient2",
    "vector",
    "aws",
    "sre",
];

/// Finds an entrant by its name.
pub(crate) fn find(name: &str) -> Option<Entrant> {
    ENTRANTS
        .iter()
        .copied()
        .find(|entrant| entrant.name == name)
}

/// Returns the name of the default law of the settings.
pub(crate) fn default_law() -> String {
    let named = serde_json::to_value(Law::default()).unwrap_or_default();
    named.as_str().unwrap_or_default().to_owned()
}

/// Returns the controller with the law of this name in the settings and defaults for everything else.
pub(crate) fn by_law(law: &str) -> Option<Entrant> {
    let named = serde_json::Value::String(law.to_owned());
    let law = serde_json::from_value(named).ok()?;
    Some(full(
        "script",
        law,
        ControllerSettings::default().limit_initial,
    ))
}

impl Entrant {
    /// Returns the pool's settings.
    pub(crate) fn pool(&self) -> PoolSettings {
        PoolSettings {
            order: self.order,
            hedge_ratio: self.hedges,
            ..PoolSettings::default()
        }
    }

    /// Returns the controller's settings for a scenario.
    pub(crate) fn settings(&self, scenario: &Scenario) -> ControllerSettings {
        let period = scenario
            .backend
            .quota
            .map_or(0.0, |quota| quota.ramp_period);
        let usual = ControllerSettings::default();
        ControllerSettings {
            law: self.law.shipped(),
            exploration: self.exploration.unwrap_or(usual.exploration),
            limit_initial: self.initial,
            without: self.without,
            attempt_timeout: Duration::try_from_secs_f64(scenario.timeout)
                .unwrap_or(Duration::from_mins(1)),
            // The value that the provider documents, as an operator would set it.
            slow_down_period: Duration::try_from_secs_f64(period)
                .ok()
                .filter(|period| !period.is_zero())
                .unwrap_or(usual.slow_down_period),
            ..usual
        }
    }
}

/// Hides the reasons of refusals from a bare law, and keeps its pause after `Retry-After`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blindfold {
    pause: Timestamp,
}

impl Blindfold {
    /// Removes the reason of a refusal and records its `Retry-After`.
    pub(crate) fn outcome(&mut self, outcome: Outcome, now: Timestamp) -> Outcome {
        match outcome {
            Outcome::Rate { retry_after, .. } => {
                let asked = retry_after.unwrap_or(Duration::ZERO);
                self.pause = self.pause.max(now.after(asked));
                Outcome::Limit
            }
            Outcome::Cold { .. } | Outcome::Quota { .. } => Outcome::Limit,
            other => other,
        }
    }

    /// Hides the quota headers.
    pub(crate) fn hints(_hints: QuotaHints) -> QuotaHints {
        QuotaHints::default()
    }

    /// Applies the pause to a grant.
    pub(crate) fn grant(self, grant: Grant, now: Timestamp) -> Grant {
        if self.pause > now && grant.permission == Permission::Open {
            return Grant {
                permission: Permission::Paused { until: self.pause },
                ..grant
            };
        }
        grant
    }

    /// Returns the end of the pause, if there is one.
    pub(crate) fn wakeup(self, now: Timestamp) -> Option<Timestamp> {
        (self.pause > now).then_some(self.pause)
    }
}
