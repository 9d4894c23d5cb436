//! The messages of the scheduler, and the event that it emits.

use std::{collections::BTreeMap, sync::Arc};

use actix::Message;
use kebne_actors::Recipient;
use kebne_control::LoadTimes;
use tokio::sync::oneshot;

use crate::{gate::Gate, parts::ServerParts, report::ServerReport, room::Room, schedule::ServerId};

/// Sets the budgets.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct SetDevices(pub(crate) BTreeMap<String, Room>);

/// Adds a server.
#[derive(Message)]
#[rtype(result = "Arc<Gate>")]
pub(crate) struct AddServer(pub(crate) ServerParts);

/// Removes a server.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct RemoveServer(pub(crate) ServerId);

/// An operator's wish.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Operate {
    Load(ServerId),
    Unload(ServerId),
}

/// Requests the reports.
#[derive(Debug, Message)]
#[rtype(result = "Vec<ServerReport>")]
pub(crate) struct GetReports;

/// Requests the load times.
#[derive(Debug, Message)]
#[rtype(result = "BTreeMap<String, LoadTimes>")]
pub(crate) struct GetLoadTimes;

/// Sends what changes to a recipient.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Listen(pub(crate) Recipient<ServerChanged>);

/// Stops all servers for good, and answers when nothing is left of them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopAll(pub(crate) oneshot::Sender<()>);

/// A timer of the schedule.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Wakeup;

/// Emitted when a server begins or ends to serve.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct ServerChanged {
    /// The server.
    pub name: Arc<str>,
    /// `true` if it serves now.
    pub is_ready: bool,
}
