//! What operators do to the lane of a backend: wake it, drain it, close it, open it again.

use kebne_control::LaneState;
use kebne_lane::{LaneSnapshot, Prewarm, Service};

use crate::gateway::{Gateway, GatewayError, HealthReport};

/// The reason why an operator's lane is closed, in `/state`.
const CLOSED_BY_OPERATOR: &str = "closed by an operator";

impl Gateway {
    /// Wakes a backend before any caller asks; returns when that is decided, not when it is warm.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not let the wake call in.
    pub async fn prewarm(&self, backend: &str) -> Result<(Prewarm, LaneState), GatewayError> {
        let lane = self.lane(backend)?;
        let woken = lane.handle.prewarm().await;
        let woken = woken.map_err(|error| GatewayError::Prewarm {
            backend: backend.to_owned(),
            error,
        })?;
        Ok((woken, lane.handle.state()))
    }

    /// Closes a backend's lane: its calls fall back to the next backend of their model, or are refused. Returns `false` if
    /// it was closed already.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn close(&self, backend: &str) -> Result<bool, GatewayError> {
        self.close_because(backend, CLOSED_BY_OPERATOR).await
    }

    /// Closes a backend's lane for a reason, which `/state` shows. Returns `false` if it was closed already.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn close_because(&self, backend: &str, reason: &str) -> Result<bool, GatewayError> {
        let closed = self.lane(backend)?.handle.close(reason).await;
        closed.map_err(|_| GatewayError::NoAnswer(backend.to_owned()))
    }

    /// Drains a backend's lane: new calls go to the other backends of their model, or are refused; those that it has
    /// admitted are served. Returns how many are left.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn drain_backend(&self, backend: &str) -> Result<usize, GatewayError> {
        let lane = self.lane(backend)?;
        lane.handle.drain().await;
        match lane.handle.service() {
            Service::Open => Err(GatewayError::NoAnswer(backend.to_owned())),
            Service::Draining | Service::Drained | Service::Closed => Ok(lane.handle.live()),
        }
    }

    /// Puts a backend back into service: opens its lane with new actors if it is closed, and admits calls if it is drained.
    /// Returns `false` if it was in service.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn reopen(&self, backend: &str) -> Result<bool, GatewayError> {
        let lane = self.lane(backend)?;
        let no_answer = |_| GatewayError::NoAnswer(backend.to_owned());
        let reopened = lane.handle.reopen().await.map_err(no_answer)?;
        let resumed = lane.handle.resume().await.map_err(no_answer)?;
        Ok(reopened || resumed)
    }

    /// Returns the state of a backend's lane for operators, and what its health checks have found.
    ///
    /// # Errors
    /// Returns an error if there is no such backend.
    pub async fn backend_snapshot(
        &self,
        backend: &str,
    ) -> Result<(LaneSnapshot, Option<HealthReport>), GatewayError> {
        let lane = self.lane(backend)?;
        Ok((lane.handle.snapshot().await, lane.health()))
    }
}
