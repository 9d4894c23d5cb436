//! Ractor's actors as puppets.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, OutputPort, SupervisionEvent, pg};
use tokio::sync::OnceCell;

use crate::{
    driver::{
        Unsupported,
        actors::{Backend, Claim, Driver, Puppet, Shared, Soon, Subscription, Topic, World},
    },
    puppet::{Directive, Script, Spec},
};

mod actor;
mod reference;
mod stage;

use actor::{Directory, Order, RactorPuppet};
use reference::RactorHandle;

/// Tells the groups of one world from those of another, which all share.
static WORLDS: AtomicU64 = AtomicU64::new(0);

/// Opens worlds on ractor.
#[derive(Debug, Default)]
pub(super) struct Actors;

impl Driver for Actors {
    fn open(&self) -> World {
        let shared = Shared::new();
        let backend = Box::new(RactorWorld {
            guardian: OnceCell::new(),
            shared: Arc::clone(&shared),
            directory: Arc::default(),
            red: OutputPort::default(),
            blue: OutputPort::default(),
            number: WORLDS.fetch_add(1, SeqCst),
        });
        World { backend, shared }
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        match claim {
            Claim::AskIsCancelled => Err(Unsupported("cancellation of an ask")),
            Claim::AskSaysWhy => Err(Unsupported("reason why a call has no answer")),
            Claim::FreshState | Claim::UnlimitedRestarts | Claim::MovableWindow => {
                Err(Unsupported("restart by the library"))
            }
            Claim::StartFailuresHaveClasses => Err(Unsupported("class of a failure")),
            Claim::TimerGenerations => Err(Unsupported("timer but a task that sends later")),
            Claim::ChildrenStopFirst => {
                Err(Unsupported("wait of a stopping actor for its children"))
            }
            Claim::StrictBound
            | Claim::BoundedByDefault
            | Claim::SelfSendsAreBounded
            | Claim::EventsAreBounded => Err(Unsupported("bound of a mailbox")),
            Claim::StopOrder => Err(Unsupported("order in which children stop")),
            Claim::StopsByDefault => {
                Err(Unsupported("indifference to the end of a child by default"))
            }
            Claim::FixedDelay => Err(Unsupported("interval with a fixed delay")),
            Claim::WatchesTheDead => Err(Unsupported("monitor of an actor that has stopped")),
            Claim::LivesWithoutReferences
            | Claim::TimersEndWithIncarnation
            | Claim::StopGoesFirst
            | Claim::FixedRate
            | Claim::RoomyByDefault
            | Claim::SecondStopIsHarmless => Ok(()),
        }
    }
}

/// The top of a world's tree.
struct Guardian;

impl Actor for Guardian {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

struct RactorWorld {
    guardian: OnceCell<ActorRef<()>>,
    shared: Arc<Shared>,
    directory: Arc<Directory>,
    red: OutputPort<i64>,
    blue: OutputPort<i64>,
    number: u64,
}

fn check(spec: &Spec) -> Result<(), Unsupported> {
    if let Some(supervision) = &spec.supervision {
        supervision.is_plain()?;
        let stops = supervision.rules.is_empty() && supervision.otherwise == Directive::Stop;
        if !stops || supervision.limit.is_some() || supervision.backoff.is_some() {
            return Err(Unsupported("restart by the library"));
        }
    }
    if spec.overflow.is_some() {
        return Err(Unsupported("bound of a mailbox"));
    }
    if spec.max_in_flight.is_some() {
        return Err(Unsupported("bound for answers under way"));
    }
    if spec.throughput.is_some() {
        return Err(Unsupported("throughput of a turn"));
    }
    if spec.stash.is_some() {
        return Err(Unsupported("stash"));
    }
    if spec.hang_after.is_some() {
        return Err(Unsupported("failure by a hang"));
    }
    if spec.elsewhere {
        return Err(Unsupported("thread that a case can end"));
    }
    Ok(())
}

/// Spawns a puppet under a supervisor.
async fn spawn_under(
    supervisor: ActorCell,
    spec: Spec,
    shared: &Arc<Shared>,
    directory: &Arc<Directory>,
) -> Result<Puppet, Unsupported> {
    check(&spec)?;
    let name = spec.name;
    let args = (spec, Arc::clone(shared), Arc::clone(directory));
    let spawned = RactorPuppet::spawn_linked(None, RactorPuppet, args, supervisor).await;
    // Ractor gives whoever spawns the error of a start, and no reference.
    let (actor, _) =
        spawned.map_err(|_| Unsupported("reference to an actor that was never made"))?;
    directory.names().insert(actor.get_id(), name);
    Ok(RactorHandle::puppet(actor))
}

impl RactorWorld {
    fn port(&self, topic: Topic) -> &OutputPort<i64> {
        match topic {
            Topic::Red => &self.red,
            Topic::Blue => &self.blue,
        }
    }

    fn group(&self, key: &str) -> String {
        format!("{key} of world {}", self.number)
    }

    async fn guardian(&self) -> Result<&ActorRef<()>, Unsupported> {
        let start = async || {
            let spawned = Guardian::spawn(None, Guardian, ()).await;
            spawned.map(|(guardian, _)| guardian)
        };
        let guardian = self.guardian.get_or_try_init(start).await;
        guardian.map_err(|_| Unsupported("guardian"))
    }
}

impl Backend for RactorWorld {
    fn spawn(&self, spec: Spec) -> Soon<'_, Result<Puppet, Unsupported>> {
        Box::pin(async move {
            let guardian = self.guardian().await?.get_cell();
            spawn_under(guardian, spec, &self.shared, &self.directory).await
        })
    }

    fn terminate(&self) -> Soon<'_, Result<(), Unsupported>> {
        Box::pin(async {
            let guardian = self.guardian().await?;
            guardian.stop_children_and_wait(None, None).await;
            Ok(())
        })
    }

    fn register(&self, key: &'static str, puppet: &Puppet) -> Result<(), Unsupported> {
        let actor = RactorHandle::of(puppet)?;
        pg::join(self.group(key), vec![actor.get_cell()]);
        Ok(())
    }

    fn deregister(&self, key: &'static str, puppet: &Puppet) -> Result<(), Unsupported> {
        let actor = RactorHandle::of(puppet)?;
        pg::leave(self.group(key), vec![actor.get_cell()]);
        Ok(())
    }

    fn tell_listed(&self, key: &'static str, script: Script) -> Result<usize, Unsupported> {
        let members = pg::get_members(&self.group(key));
        let told = members
            .iter()
            .filter(|member| member.send_message(Order::Tell(script.clone())).is_ok());
        Ok(told.count())
    }

    fn subscribe<'a>(
        &'a self,
        topic: Topic,
        puppet: &'a Puppet,
    ) -> Soon<'a, Result<Subscription, Unsupported>> {
        Box::pin(async move {
            let actor = RactorHandle::of(puppet)?.clone();
            let event = move |number| Some(Order::Event(topic, number));
            self.port(topic).subscribe(actor, event);
            Ok(Box::new(()) as Subscription)
        })
    }

    fn unsubscribe(&self, _: Subscription) -> Result<Option<bool>, Unsupported> {
        Err(Unsupported("end of a subscription but with its actor"))
    }

    fn publish(&self, topic: Topic, number: i64) -> Result<Option<usize>, Unsupported> {
        self.port(topic).send(number);
        Ok(None)
    }
}
