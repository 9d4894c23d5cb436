//! The puppet as an actor of ractor.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ractor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent,
};
use tokio::{task::AbortHandle, time::sleep};

use super::stage::OnRactor;
use crate::{
    driver::actors::{Shared, Topic},
    puppet::{Answer, Body, Class, Performed, Script, Spec, receive},
};

/// The error by which a puppet fails.
#[derive(Debug)]
struct PuppetError(Class);

impl fmt::Display for PuppetError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "class {:?}", self.0)
    }
}

impl std::error::Error for PuppetError {}

/// The names of a world's puppets.
#[derive(Debug, Default)]
pub(super) struct Directory(Mutex<HashMap<ActorId, &'static str>>);

impl Directory {
    pub(super) fn names(&self) -> MutexGuard<'_, HashMap<ActorId, &'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a puppet is told.
#[derive(Debug)]
pub(super) enum Order {
    Tell(Script),
    Ask(Script, RpcReplyPort<Answer>),
    /// An event of a topic.
    Event(Topic, i64),
}

/// What a recipient of one type may be sent.
#[derive(Debug)]
pub(super) struct TellOnly(pub(super) Script);

impl From<TellOnly> for Order {
    fn from(TellOnly(script): TellOnly) -> Self {
        Self::Tell(script)
    }
}

impl TryFrom<Order> for TellOnly {
    type Error = ();

    fn try_from(order: Order) -> Result<Self, ()> {
        match order {
            Order::Tell(script) => Ok(Self(script)),
            Order::Ask(..) | Order::Event(..) => Err(()),
        }
    }
}

pub(super) struct RactorPuppet;

/// What a puppet has in ractor's terms.
pub(super) struct State {
    body: Body,
    pub(super) ties: Ties,
}

/// Whom it watches, its timers, and the names of all.
pub(super) struct Ties {
    pub(super) directory: Arc<Directory>,
    pub(super) watched: HashSet<ActorId>,
    pub(super) pacts: HashSet<ActorId>,
    pub(super) timers: BTreeMap<&'static str, AbortHandle>,
}

fn ended(performed: &Performed) -> Result<(), ActorProcessingErr> {
    match performed {
        Performed::Failed(class) => Err(Box::new(PuppetError(*class))),
        _ => Ok(()),
    }
}

impl Actor for RactorPuppet {
    type Msg = Order;
    type State = State;
    type Arguments = (Spec, Arc<Shared>, Arc<Directory>);

    async fn pre_start(
        &self,
        _: ActorRef<Order>,
        (spec, shared, directory): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State {
            body: Body::new(spec, shared),
            ties: Ties {
                directory,
                watched: HashSet::new(),
                pacts: HashSet::new(),
                timers: BTreeMap::new(),
            },
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Order>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let State { body, ties } = state;
        let mut stage = OnRactor::new(myself, ties);
        ended(&body.started(&mut stage).await)
    }

    async fn post_stop(
        &self,
        myself: ActorRef<Order>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let State { body, ties } = state;
        let mut stage = OnRactor::new(myself, ties);
        body.stopped(&mut stage).await;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let State { body, ties } = state;
        let mut stage = OnRactor::new(myself, ties);
        let (script, port) = match order {
            Order::Tell(script) => (script, None),
            Order::Ask(script, port) => (script, Some(port)),
            Order::Event(Topic::Red, number) => {
                body.note(&format!("red {number}"));
                return Ok(());
            }
            Order::Event(Topic::Blue, number) => {
                body.note(&format!("blue {number}"));
                return Ok(());
            }
        };
        let performed = receive(body, &mut stage, script).await;
        let end = ended(&performed);
        match (performed, port) {
            (Performed::Answer(answer), Some(port)) => {
                let _an_asker_may_have_left = port.send(answer);
            }
            (Performed::Later(delay, answer), Some(port)) => {
                tokio::spawn(async move {
                    sleep(delay).await;
                    let _an_asker_may_have_left = port.send(answer);
                });
            }
            (Performed::Failed(_) | Performed::Within(..) | Performed::Never, _) | (_, None) => {}
        }
        end
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Order>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(who, _, _) => state.saw(&who, "stop"),
            SupervisionEvent::ActorFailed(who, _) => state.saw(&who, "fail"),
            _ => Ok(()),
        }
    }
}

impl State {
    /// Notes an end that it watched for, and fails where it cannot live on.
    fn saw(&mut self, who: &ActorCell, how: &str) -> Result<(), ActorProcessingErr> {
        let id = who.get_id();
        if self.ties.watched.remove(&id) {
            let name = self.ties.directory.names().get(&id).copied();
            self.body
                .note(&format!("saw {} {how}", name.unwrap_or("?")));
        }
        if self.ties.pacts.remove(&id) {
            return Err(Box::new(PuppetError(Class::Pact)));
        }
        Ok(())
    }
}
