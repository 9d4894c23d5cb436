//! The restarts of actors, counted by their kind. A count never falls, even if the actor stops.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use kebne_actors::{ActorSystem, Offer, Recipient, Restarted};

/// The restarts of the actors of a system.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts(Arc<Mutex<BTreeMap<&'static str, u64>>>);

/// The kinds of actors, by the beginnings of their names.
const KINDS: [(&str, &str); 9] = [
    ("monitor", "monitor"),
    ("servers", "scheduler"),
    ("server-", "model_server"),
    ("worker-pool", "worker_pool"),
    ("worker-", "worker"),
    ("rate-controller", "rate_controller"),
    ("lane-", "lane"),
    ("context-manager", "context_manager"),
    ("supervisor", "supervisor"),
];

impl Restarts {
    /// Counts the restarts of a system from now on.
    pub(super) fn of(system: &ActorSystem) -> Self {
        let restarts = Self::default();
        for (_, kind) in KINDS {
            restarts.add(kind, 0);
        }
        let counts = restarts.clone();
        system
            .events()
            .subscribe(Recipient::new(move |event: Restarted| {
                counts.add(kind_of(&event.path), 1);
                Offer::Enqueued
            }));
        restarts
    }

    /// Returns the counts.
    pub(super) fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }

    fn add(&self, kind: &'static str, count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(kind).or_default() += count;
    }
}

/// Returns the kind of the actor with a path.
fn kind_of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut kinds = KINDS.iter();
    let kind = kinds.find(|(beginning, _)| name.starts_with(beginning));
    kind.map_or("other", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_counted_by_its_kind() {
        for (path, kind) in [
            ("/user/supervisor", "supervisor"),
            ("/user/supervisor/lane-a/worker-pool", "worker_pool"),
            ("/user/supervisor/lane-a/worker-pool/worker-12", "worker"),
            ("/user/supervisor/lane-worker-1", "lane"),
            ("/user/x", "other"),
        ] {
            assert_eq!(kind_of(path), kind, "{path}");
        }
    }
}
