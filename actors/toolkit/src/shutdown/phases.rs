//! The phases of a shutdown: a directed graph without cycles, by name.

use std::{collections::BTreeMap, time::Duration};

/// The program announces that it will stop accepting connections.
pub const BEFORE_SERVICE_UNBIND: &str = "before-service-unbind";
/// New work is refused.
pub const SERVICE_UNBIND: &str = "service-unbind";
/// Accepted work is completed.
pub const SERVICE_REQUESTS_DONE: &str = "service-requests-done";
/// The services are stopped.
pub const SERVICE_STOP: &str = "service-stop";
/// Before the parts of a cluster are stopped; see [`Phases::with_cluster`].
pub const BEFORE_CLUSTER_SHUTDOWN: &str = "before-cluster-shutdown";
/// The shards of a cluster are handed over; see [`Phases::with_cluster`].
pub const CLUSTER_SHARDING_SHUTDOWN_REGION: &str = "cluster-sharding-shutdown-region";
/// The node announces that it leaves; see [`Phases::with_cluster`].
pub const CLUSTER_LEAVE: &str = "cluster-leave";
/// The singletons of the node are handed over; see [`Phases::with_cluster`].
pub const CLUSTER_EXITING: &str = "cluster-exiting";
/// The other nodes have noticed that the node left; see [`Phases::with_cluster`].
pub const CLUSTER_EXITING_DONE: &str = "cluster-exiting-done";
/// The parts of the cluster are stopped; see [`Phases::with_cluster`].
pub const CLUSTER_SHUTDOWN: &str = "cluster-shutdown";
/// The last phase in which actors can be used.
pub const BEFORE_ACTOR_SYSTEM_TERMINATE: &str = "before-actor-system-terminate";
/// The actors are stopped.
pub const ACTOR_SYSTEM_TERMINATE: &str = "actor-system-terminate";

/// The default time limit of a phase, as in Pekko.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit of the phases for which Pekko has a longer one, because they wait for others.
const LONG_TIMEOUT: Duration = Duration::from_secs(10);

/// One phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The phases that come before it.
    pub depends_on: Vec<String>,
    /// The time limit for all of its tasks together. Default 5 s.
    pub timeout: Duration,
    /// Whether the run continues after a task failed or the time limit passed. Default `true`.
    pub recover: bool,
    /// Whether its tasks are run. Default `true`.
    pub enabled: bool,
}

impl Default for Phase {
    fn default() -> Self {
        Self {
            depends_on: Vec::new(),
            timeout: TIMEOUT,
            recover: true,
            enabled: true,
        }
    }
}

impl Phase {
    /// Creates a phase that comes after `depends_on`, with the defaults.
    pub fn after<S: Into<String>>(depends_on: impl IntoIterator<Item = S>) -> Self {
        Self {
            depends_on: depends_on.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Sets the time limit for all of its tasks together.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets whether the run continues after a failure.
    #[must_use]
    pub fn recover(self, recover: bool) -> Self {
        Self { recover, ..self }
    }

    /// Sets whether its tasks are run.
    #[must_use]
    pub fn enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }
}

/// The reason why phases cannot be ordered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhasesError {
    /// These phases depend on themselves, each on the next one.
    #[error("phases depend on themselves: `{}`", .0.join("` after `"))]
    Cycle(Vec<String>),
    /// A phase depends on one that does not exist.
    #[error("the phase `{phase}` depends on `{depends_on}`, which does not exist")]
    UnknownDependency {
        /// The phase.
        phase: String,
        /// What it depends on.
        depends_on: String,
    },
}

/// The phases of a shutdown by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases {
    pub(super) by_name: BTreeMap<String, Phase>,
}

impl Default for Phases {
    /// Returns Pekko's phases without those of its cluster, which Kebne does not have: the four of a service, then the
    /// two of the actor system. The time limit of the last one is 10 s, that of the others 5 s.
    fn default() -> Self {
        Self::empty()
            .with(BEFORE_SERVICE_UNBIND, Phase::default())
            .with(SERVICE_UNBIND, Phase::after([BEFORE_SERVICE_UNBIND]))
            .with(SERVICE_REQUESTS_DONE, Phase::after([SERVICE_UNBIND]))
            .with(SERVICE_STOP, Phase::after([SERVICE_REQUESTS_DONE]))
            .with(BEFORE_ACTOR_SYSTEM_TERMINATE, Phase::after([SERVICE_STOP]))
            .with(
                ACTOR_SYSTEM_TERMINATE,
                Phase::after([BEFORE_ACTOR_SYSTEM_TERMINATE]).timeout(LONG_TIMEOUT),
            )
    }
}

impl Phases {
    /// Returns an empty set, for programs that define all their phases.
    pub fn empty() -> Self {
        Self {
            by_name: BTreeMap::new(),
        }
    }

    /// Returns all twelve phases of Pekko, for programs that have a cluster or tasks written for those names. Two of
    /// the additional six have a time limit of 10 s.
    pub fn with_cluster() -> Self {
        let sharding = Phase::after([BEFORE_CLUSTER_SHUTDOWN]).timeout(LONG_TIMEOUT);
        Self::default()
            .with(BEFORE_CLUSTER_SHUTDOWN, Phase::after([SERVICE_STOP]))
            .with(CLUSTER_SHARDING_SHUTDOWN_REGION, sharding)
            .with(
                CLUSTER_LEAVE,
                Phase::after([CLUSTER_SHARDING_SHUTDOWN_REGION]),
            )
            .with(
                CLUSTER_EXITING,
                Phase::after([CLUSTER_LEAVE]).timeout(LONG_TIMEOUT),
            )
            .with(CLUSTER_EXITING_DONE, Phase::after([CLUSTER_EXITING]))
            .with(CLUSTER_SHUTDOWN, Phase::after([CLUSTER_EXITING_DONE]))
            .with(
                BEFORE_ACTOR_SYSTEM_TERMINATE,
                Phase::after([CLUSTER_SHUTDOWN]),
            )
    }

    /// Adds a phase, or replaces the phase of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, phase: Phase) -> Self {
        self.by_name.insert(name.into(), phase);
        self
    }

    /// Changes the phase of that name, if it exists.
    #[must_use]
    pub fn change(mut self, name: &str, change: impl FnOnce(Phase) -> Phase) -> Self {
        if let Some(phase) = self.by_name.get_mut(name) {
            *phase = change(std::mem::take(phase));
        }
        self
    }

    /// Returns the names in an order in which each phase comes after the phases it depends on. Where several orders
    /// are possible, names are in alphabetical order.
    ///
    /// # Errors
    /// See [`PhasesError`].
    pub fn order(&self) -> Result<Vec<&str>, PhasesError> {
        let mut sorting = Sorting {
            phases: &self.by_name,
            path: Vec::new(),
            order: Vec::new(),
        };
        for name in self.by_name.keys() {
            sorting.visit(name)?;
        }
        Ok(sorting.order)
    }

    /// Returns the phases in that order.
    pub(super) fn into_order(mut self) -> Result<Vec<(String, Phase)>, PhasesError> {
        let names: Vec<String> = self.order()?.into_iter().map(str::to_owned).collect();
        let phases = names.into_iter().filter_map(|name| {
            let phase = self.by_name.remove(&name)?;
            Some((name, phase))
        });
        Ok(phases.collect())
    }
}

/// A topological sort, depth first.
struct Sorting<'a> {
    phases: &'a BTreeMap<String, Phase>,
    /// The phases being visited; each one depends on the next.
    path: Vec<&'a str>,
    order: Vec<&'a str>,
}

impl<'a> Sorting<'a> {
    fn visit(&mut self, name: &'a str) -> Result<(), PhasesError> {
        if self.order.contains(&name) {
            return Ok(());
        }
        if let Some(first) = self.path.iter().position(|visited| *visited == name) {
            let cycle = self.path.iter().skip(first).chain([&name]);
            return Err(PhasesError::Cycle(
                cycle.map(|name| (*name).to_owned()).collect(),
            ));
        }
        let Some(phase) = self.phases.get(name) else {
            let phase = self.path.last().copied().unwrap_or_default();
            return Err(PhasesError::UnknownDependency {
                phase: phase.to_owned(),
                depends_on: name.to_owned(),
            });
        };
        self.path.push(name);
        for dependency in &phase.depends_on {
            self.visit(dependency)?;
        }
        self.path.pop();
        self.order.push(name);
        Ok(())
    }
}
