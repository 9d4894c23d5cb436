//! The lane of a backend that is shared with other gateways, for what renews its lease.

use kebne_control::{Lease, Renewal, Snapshot};

use crate::{
    backend::Backend,
    handle::{ASK_TIMEOUT, LaneHandle, NoAnswer},
    rate_controller::{GetRenewal, TakeLease},
};

impl<B: Backend> LaneHandle<B> {
    /// Returns what this lane reports when its lease is renewed, and forgets the refusals that it contains.
    ///
    /// # Errors
    /// Returns an error if the lane is closed, or its actors do not answer within 2 s.
    pub async fn renewal(&self) -> Result<Renewal, NoAnswer> {
        let route = self.inner.open_route().ok_or(NoAnswer)?;
        let renewal = route.controller.ask_control(GetRenewal, ASK_TIMEOUT);
        renewal.await.map(|view| view.0).map_err(|_| NoAnswer)
    }

    /// Takes a lease, which bounds the calls in flight from now on; `None` if nothing is known of other gateways. `learned` is
    /// used for what this lane has not learned itself.
    ///
    /// # Errors
    /// Returns an error if the lane is closed, or its actors do not answer within 2 s.
    pub async fn take_lease(
        &self,
        lease: Option<Lease>,
        learned: Option<Snapshot>,
    ) -> Result<(), NoAnswer> {
        let route = self.inner.open_route().ok_or(NoAnswer)?;
        let learned = learned.map(Box::new);
        let taken = TakeLease { lease, learned };
        let taken = route.controller.ask_control(taken, ASK_TIMEOUT);
        taken.await.map_err(|_| NoAnswer)
    }

    /// Waits until the lease should be renewed at once: after a cut of the limit, and when calls wait for a backend that nobody is
    /// known to wake.
    pub async fn lease_wanted(&self) {
        self.inner.lease_bell.notified().await;
    }
}
