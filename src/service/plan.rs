//! The order in which the service ends: Pekko's phases, and what is done in each.
//!
//! First the service says that it is not ready and still serves (lame duck), so that load balancers turn away before a
//! call is refused. The listener stays open while calls drain: a late caller gets 503 with a `Retry-After` instead of a
//! refused connection. In Pekko's terms, "unbind" is to let nothing more in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_web::dev::ServerHandle;
use kebne_actors::shutdown::{
    ACTOR_SYSTEM_TERMINATE, BEFORE_ACTOR_SYSTEM_TERMINATE, BEFORE_SERVICE_UNBIND,
    CoordinatedShutdown, Phases, SERVICE_REQUESTS_DONE, SERVICE_STOP, SERVICE_UNBIND,
};
use tokio_util::sync::CancellationToken;

use crate::{gateway::Gateway, http::State, service::ServiceError};

/// The time added to the lame-duck time for the timeout of its phase.
const LAME_DUCK_SLACK: Duration = Duration::from_secs(1);
/// Time to cut off what is left (each lane answers within 2 s) and to write out what connections hold (2 s more),
/// twice over.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// Above every `stop_grace`, after which servers are killed.
const SERVERS_TIMEOUT: Duration = Duration::from_mins(10);

/// How the service ends.
#[derive(Debug)]
pub(super) struct Plan {
    /// Runs it.
    pub(super) shutdown: CoordinatedShutdown,
    /// Cancelled when calls are no longer waited for.
    pub(super) second_signal: CancellationToken,
    cut_off: Arc<AtomicUsize>,
}

impl Plan {
    /// Plans the end of a service that has started; `now` ends the wait for calls.
    pub(super) fn new(
        gateway: &Gateway,
        state: &Arc<State>,
        server: &ServerHandle,
        now: &CancellationToken,
    ) -> Result<Self, ServiceError> {
        let settings = state.settings.get();
        let drain_deadline = settings.drain_deadline.0;
        let lame_duck = settings.lame_duck.0;
        let phases = Phases::default()
            .change(BEFORE_SERVICE_UNBIND, |phase| {
                phase.timeout(lame_duck + LAME_DUCK_SLACK)
            })
            .change(SERVICE_REQUESTS_DONE, |phase| phase.timeout(drain_deadline))
            .change(SERVICE_STOP, |phase| phase.timeout(STOP_TIMEOUT))
            .change(BEFORE_ACTOR_SYSTEM_TERMINATE, |phase| {
                phase.timeout(SERVERS_TIMEOUT)
            });
        let plan = Self {
            shutdown: CoordinatedShutdown::new(phases)?,
            second_signal: now.child_token(),
            cut_off: Arc::default(),
        };
        plan.serve_as_lame_duck(gateway, lame_duck)?;
        plan.refuse_new_calls(gateway, state)?;
        plan.wait_for_calls(gateway)?;
        plan.stop_serving(gateway, state, server)?;
        plan.stop_servers(gateway)?;
        plan.terminate(gateway)?;
        Ok(plan)
    }

    /// Returns how many calls were cut off.
    pub(super) fn cut_off(&self) -> usize {
        self.cut_off.load(SeqCst)
    }

    fn serve_as_lame_duck(
        &self,
        gateway: &Gateway,
        lame_duck: Duration,
    ) -> Result<(), ServiceError> {
        let (gateway, second_signal) = (gateway.clone(), self.second_signal.clone());
        let wait = move || async move {
            gateway.leave();
            if !lame_duck.is_zero() && !second_signal.is_cancelled() {
                tracing::info!(
                    ?lame_duck,
                    "stopping: not ready any more, calls are still served"
                );
            }
            tokio::select! {
                biased;
                () = second_signal.cancelled() => {}
                () = tokio::time::sleep(lame_duck) => {}
            }
            Ok(())
        };
        self.shutdown
            .add_task(BEFORE_SERVICE_UNBIND, "lame-duck", wait)?;
        Ok(())
    }

    fn refuse_new_calls(&self, gateway: &Gateway, state: &Arc<State>) -> Result<(), ServiceError> {
        let (gateway, state) = (gateway.clone(), Arc::clone(state));
        let refuse = || async move {
            let deadline = state.settings.get().drain_deadline;
            tracing::info!(%deadline, "draining: no new calls are let in");
            state.drain();
            gateway.drain().await;
            Ok(())
        };
        self.shutdown
            .add_task(SERVICE_UNBIND, "refuse-new-calls", refuse)?;
        Ok(())
    }

    fn wait_for_calls(&self, gateway: &Gateway) -> Result<(), ServiceError> {
        let (gateway, second_signal) = (gateway.clone(), self.second_signal.clone());
        let wait = || async move {
            let settled = async {
                gateway.when_idle().await;
                gateway.jobs().when_settled().await;
                gateway.agents().when_settled().await;
            };
            tokio::select! {
                () = settled => {}
                () = second_signal.cancelled() => {}
            }
            Ok(())
        };
        self.shutdown
            .add_task(SERVICE_REQUESTS_DONE, "wait-for-calls", wait)?;
        Ok(())
    }

    /// What is cut off still has its answer written, so connections are closed after it.
    fn stop_serving(
        &self,
        gateway: &Gateway,
        state: &Arc<State>,
        server: &ServerHandle,
    ) -> Result<(), ServiceError> {
        let (gateway, server) = (gateway.clone(), server.clone());
        let state = Arc::clone(state);
        let cut_off = Arc::clone(&self.cut_off);
        let stop = || async move {
            gateway.remember().await;
            gateway.leave_leases().await;
            cut_off.store(gateway.cut_off().await, SeqCst);
            // Who watches until now sees the end of the drain.
            state.live.close();
            server.stop(true).await;
            if gateway.accounts().leave().await.is_err() {
                tracing::debug!("the store of accounts has not taken the last sums");
            }
            cut_off.store(gateway.drained(), SeqCst);
            Ok(())
        };
        self.shutdown.add_task(SERVICE_STOP, "stop-serving", stop)?;
        Ok(())
    }

    /// The servers that this process has started end with it. Those that are not waited for are killed.
    fn stop_servers(&self, gateway: &Gateway) -> Result<(), ServiceError> {
        let (gateway, second_signal) = (gateway.clone(), self.second_signal.clone());
        let stop = || async move {
            tokio::select! {
                () = gateway.stop_servers() => {}
                () = second_signal.cancelled() => {}
            }
            Ok(())
        };
        self.shutdown
            .add_task(BEFORE_ACTOR_SYSTEM_TERMINATE, "stop-servers", stop)?;
        Ok(())
    }

    fn terminate(&self, gateway: &Gateway) -> Result<(), ServiceError> {
        let gateway = gateway.clone();
        let terminate = || async move {
            gateway.terminate().await;
            Ok(())
        };
        self.shutdown
            .add_task(ACTOR_SYSTEM_TERMINATE, "terminate", terminate)?;
        Ok(())
    }
}
