//! How the replicas of a model are used, and what a call has in common with others.

use std::{sync::Arc, time::Duration};

use crate::{
    gateway::{
        affinity::{Beginning, Beginnings},
        route::Route,
    },
    settings::{Affinity, Balance, ModelSettings},
};

/// How the replicas of a model are used.
#[derive(Debug)]
pub(super) struct Balancer {
    pub(super) balance: Balance,
    affinity: Affinity,
    pub(super) affinity_wait: Duration,
    pub(super) wakes: bool,
    pub(super) beginnings: Arc<Beginnings>,
}

impl Balancer {
    pub(super) fn new(model: &ModelSettings) -> Self {
        Self {
            balance: model.balance,
            affinity: model.affinity,
            affinity_wait: model.affinity_wait.0,
            wakes: model.wake_replicas,
            beginnings: Arc::default(),
        }
    }

    /// Creates the balancer of changed settings of the same model.
    pub(super) fn changed(&self, model: &ModelSettings) -> Self {
        Self {
            beginnings: Arc::clone(&self.beginnings),
            ..Self::new(model)
        }
    }
}

/// What a call has in common with others that should go to the same replica.
#[derive(Debug)]
pub(super) enum Bond {
    None,
    /// It belongs to a session.
    Session(String),
    /// The beginning of its prompt.
    Prompt(Beginning),
}

impl Bond {
    /// Reads the bond of a call; `session` is the session that it belongs to.
    pub(super) fn of(route: &Route, session: Option<&str>, body: &[u8]) -> Self {
        match (route.balancer.affinity, session) {
            (Affinity::Session, Some(session)) => Self::Session(session.to_owned()),
            (Affinity::Prefix, _) => Self::Prompt(Beginning::of(body)),
            (Affinity::None | Affinity::Session, _) => Self::None,
        }
    }
}
