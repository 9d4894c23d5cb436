//! The handle of the scheduler and of its servers.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, AskError, Context, Offer, Recipient, Spawn};
use kebne_control::LoadTimes;
use tokio::sync::oneshot;

use crate::{
    failure::Failing,
    gate::{Gate, Lease, NotLoaded},
    parts::ServerParts,
    report::ServerReport,
    room::Room,
    scheduler::{
        AddServer, GetLoadTimes, GetReports, Listen, Operate, RemoveServer, Scheduler,
        ServerChanged, SetDevices, StopAll,
    },
};

/// The time within which the scheduler must answer; it never waits.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The handle of the scheduler; clones share it.
#[derive(Clone, Debug)]
pub struct Servers {
    scheduler: ActorRef<Scheduler>,
}

impl Servers {
    /// Starts the scheduler below an actor. Processes are started from the thread of that actor, which must live as long as
    /// they do.
    ///
    /// # Errors
    /// Returns an error if the actor does not start it.
    pub async fn start_under<P>(parent: &ActorRef<P>) -> Result<Self, AskError>
    where
        P: Actor<Context = Context<P>> + Handler<Spawn>,
    {
        let scheduler = Spawn::ask(parent, Scheduler::props(), "servers").await?;
        Ok(Self { scheduler })
    }

    /// Sets the budgets of devices. A device that is not named has no bound.
    pub fn set_devices(&self, devices: BTreeMap<String, Room>) {
        self.scheduler.inform(SetDevices(devices));
    }

    /// Adds a server.
    ///
    /// # Errors
    /// Returns an error if the scheduler does not answer.
    pub async fn add(&self, parts: ServerParts) -> Result<Server, AskError> {
        let gate = self
            .scheduler
            .ask_control(AddServer(parts), ASK_TIMEOUT)
            .await?;
        Ok(Server {
            gate,
            scheduler: self.scheduler.clone(),
        })
    }

    /// Calls `changed` whenever a server begins or ends to serve.
    pub fn on_change(&self, changed: impl Fn(ServerChanged) + Send + Sync + 'static) {
        let listener = Recipient::new(move |event| {
            changed(event);
            Offer::Enqueued
        });
        self.scheduler.inform(Listen(listener));
    }

    /// Returns what operators see of all servers, in the order in which they were added. It is empty if the scheduler does not
    /// answer.
    pub async fn reports(&self) -> Vec<ServerReport> {
        let reports = self.scheduler.ask_control(GetReports, ASK_TIMEOUT).await;
        reports.unwrap_or_default()
    }

    /// Returns the load times that were learned, by server.
    pub async fn load_times(&self) -> BTreeMap<String, LoadTimes> {
        let times = self.scheduler.ask_control(GetLoadTimes, ASK_TIMEOUT).await;
        times.unwrap_or_default()
    }

    /// Stops all servers, and starts none from now on. Returns when nothing is left of them.
    pub async fn stop_all(&self) {
        let (done, all_done) = oneshot::channel();
        if self.scheduler.control(StopAll(done)).is_enqueued() {
            // A scheduler that has stopped has dropped them.
            all_done.await.ok();
        }
    }
}

/// One server; clones share it.
#[derive(Clone)]
pub struct Server {
    gate: Arc<Gate>,
    scheduler: ActorRef<Scheduler>,
}

impl Server {
    /// Takes a lease; has the server loaded if it is not, and waits for it for at most `patience`.
    ///
    /// # Errors
    /// Returns an error with the time after which the server is expected to serve. It stays wanted for a while, so that
    /// another try within seconds keeps its turn.
    pub async fn lease(&self, patience: Duration) -> Result<Lease, NotLoaded> {
        self.gate.lease(patience).await
    }

    /// Returns how the server fails; `None` if it serves, or is expected to when it is started.
    pub fn failing(&self) -> Option<Failing> {
        self.gate.failing()
    }

    /// Has the server loaded as soon as there is room, without a call.
    pub fn load(&self) {
        self.scheduler.inform(Operate::Load(self.gate.server));
    }

    /// Has the server stopped when its last call has ended. It is started again when a call waits for it.
    pub fn unload(&self) {
        self.scheduler.inform(Operate::Unload(self.gate.server));
    }

    /// Removes the server: it is stopped when its last call has ended, and not started again.
    pub fn remove(&self) {
        self.scheduler.inform(RemoveServer(self.gate.server));
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Server")
            .field(&self.gate.server)
            .finish()
    }
}
