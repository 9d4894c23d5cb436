//! The simulated model on a running clock, shared by its callers; the server and the in-process backend use it.
//!
//! Owns the lock and the epoch, and the guard that makes a call leave the model when it ends. Time is tokio's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kebne_control::{QuotaHints, Timestamp};
use tokio::time::{Instant, sleep_until};

use crate::simulate::{Decision, Fault, Model, Profile, Status};

/// A model with a running clock. Clones share it.
#[derive(Clone, Debug)]
pub struct LiveModel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    model: Mutex<Model>,
    profile: Profile,
    epoch: Instant,
}

/// The place of an accepted call; it is returned when this is dropped.
#[derive(Debug)]
pub struct Place(LiveModel);

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.0.now();
        self.0.model().leave(now);
    }
}

impl LiveModel {
    /// Creates a model with the behaviour of the profile, starting now.
    pub fn new(profile: Profile) -> Self {
        let shared = Shared {
            model: Mutex::new(Model::new(profile.clone(), Timestamp::ZERO)),
            profile,
            epoch: Instant::now(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns the profile of the model.
    pub fn profile(&self) -> &Profile {
        &self.shared.profile
    }

    /// Offers a call to the model. An accepted call gets a place, which it must hold until it has ended.
    pub fn arrive(&self) -> (Decision, Option<Fault>, Option<Place>) {
        let now = self.now();
        let (decision, fault) = self.model().arrive(now);
        (decision, fault, self.place(decision))
    }

    /// Holds a call until the model is ready, and offers it again.
    pub async fn hold(&self, ready_at: Timestamp) -> (Decision, Option<Place>) {
        sleep_until(self.shared.epoch + ready_at.since(Timestamp::ZERO)).await;
        let now = self.now();
        let decision = self.model().held(now);
        (decision, self.place(decision))
    }

    fn place(&self, decision: Decision) -> Option<Place> {
        matches!(decision, Decision::Accepted(_)).then(|| Place(self.clone()))
    }

    /// Unloads the model. Calls in flight end as if it were loaded. Returns `false` if it has no cold start.
    pub fn fall_asleep(&self) -> bool {
        self.model().fall_asleep()
    }

    /// Returns the state of the model now.
    pub fn status(&self) -> Status {
        let now = self.now();
        self.model().status(now)
    }

    /// Returns the rate limit's state for the headers now.
    pub fn quota(&self) -> QuotaHints {
        let now = self.now();
        QuotaHints {
            requests: self.model().quota(now),
            tokens: None,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_duration(self.shared.epoch.elapsed())
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.shared
            .model
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
