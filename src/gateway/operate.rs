//! What operators do to the lane of a backend: wake it, drain it, close it, open it again.

use std::sync::Arc;

use kebne_actors::{ActorRef, AskError, Spawn};
use kebne_control::LaneState;
use kebne_lane::{LaneSnapshot, Prewarm, Service};

use crate::{
    decisions::{self, Action, Book, Decision, Decisions},
    gateway::{Gateway, GatewayError, HealthReport, lane::Lane},
    settings::Settings,
    supervisor::Supervisor,
};

/// The reason why an operator's lane is closed, in `/state`.
const CLOSED_BY_OPERATOR: &str = "closed by an operator";

/// Starts the actor that keeps what operators decide. If its file cannot be used, nothing is kept: calls matter more.
pub(super) async fn decisions(supervisor: &ActorRef<Supervisor>, settings: &Settings) -> Decisions {
    let path = &settings.server.decisions_path;
    if path.as_os_str().is_empty() {
        return Decisions::default();
    }
    let path = path.display();
    let props = match decisions::props(&settings.server.decisions_path) {
        Ok(props) => props,
        Err(error) => {
            tracing::error!(%path, %error, "what operators decide about backends is not kept");
            return Decisions::default();
        }
    };
    match Spawn::ask(supervisor, props, "decisions").await {
        Ok(actor) => Decisions::new(actor),
        Err(error) => {
            tracing::error!(%path, %error, "what operators decide about backends is not kept");
            Decisions::default()
        }
    }
}

impl Gateway {
    /// Does what an operator decides about a backend, and keeps it for the next start of the program.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn decide(
        &self,
        backend: &str,
        action: Action,
        by: &str,
    ) -> Result<(), GatewayError> {
        self.act(backend, action).await?;
        let decision = Decision {
            backend: backend.to_owned(),
            action,
            by: by.to_owned(),
            at: self.accounts().unix_seconds(),
        };
        self.inner.decisions.note(decision).await;
        Ok(())
    }

    async fn act(&self, backend: &str, action: Action) -> Result<(), GatewayError> {
        match action {
            Action::Drain => self.drain_backend(backend).await.map(drop),
            Action::Disable => self.close(backend).await.map(drop),
            Action::Reopen => self.reopen(backend).await.map(drop),
        }
    }

    /// Returns what operators have decided.
    ///
    /// # Errors
    /// Returns an error if the journal cannot be read.
    pub async fn decisions(&self) -> Result<Book, AskError> {
        self.inner.decisions.book().await
    }

    /// Opens a lane that the gateway has closed by itself, unless an operator wants it out of service; returns `false` then.
    ///
    /// # Errors
    /// Returns an error if there is no such backend, or its lane does not answer.
    pub async fn reopen_unless_decided(&self, backend: &str) -> Result<bool, GatewayError> {
        // A journal that cannot be read stops no automatic action.
        let book = self.inner.decisions.book().await.unwrap_or_default();
        if book.in_force.contains_key(backend) {
            return Ok(false);
        }
        self.reopen(backend).await?;
        Ok(true)
    }

    /// Takes those lanes that have just been started out of service that an operator has taken out.
    pub(super) async fn decide_again(&self, started: &[Arc<Lane>]) {
        let book = match self.inner.decisions.book().await {
            Ok(book) => book,
            Err(error) => {
                let what = "backends that operators have drained or disabled are in service: the journal cannot be read";
                tracing::error!(%error, "{what}");
                return;
            }
        };
        for lane in started {
            let Some(decision) = book.in_force.get(lane.name()) else {
                continue;
            };
            let Decision {
                backend,
                action,
                by,
                at,
            } = decision;
            match self.act(backend, *action).await {
                Ok(()) => {
                    tracing::warn!(
                        backend,
                        ?action,
                        by,
                        at,
                        "the backend stays out of service, as an operator decided"
                    );
                }
                Err(error) => {
                    tracing::error!(backend, ?action, by, at, %error, "the backend is in service, though an operator took it out");
                }
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ProcessEnvironment;

    #[actix::test]
    async fn the_gateway_does_not_reopen_by_itself_what_an_operator_has_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.server.learned_path = std::path::PathBuf::new();
        settings.server.decisions_path = folder.path().join("decisions.sqlite");
        settings.context.store = kebne_context::StoreKind::Memory;
        let gateway = Gateway::start(&settings, &ProcessEnvironment)
            .await
            .unwrap();
        let name = &*settings.backends[0].name;
        let service = || gateway.lane(name).unwrap().handle.service();

        assert!(
            gateway
                .close_because(name, "taken out by the gateway")
                .await
                .unwrap()
        );
        assert!(gateway.reopen_unless_decided(name).await.unwrap());
        assert_eq!(service(), Service::Open);

        gateway
            .close_because(name, "taken out by the gateway")
            .await
            .unwrap();
        gateway.decide(name, Action::Disable, "ann").await.unwrap();
        assert!(!gateway.reopen_unless_decided(name).await.unwrap());
        assert_eq!(service(), Service::Closed);

        gateway.decide(name, Action::Reopen, "ann").await.unwrap();
        assert_eq!(service(), Service::Open);
    }
}
