//! Kameo's actors as puppets.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use kameo::{
    actor::{Actor, ActorId, ActorRef, Spawn, WeakActorRef},
    error::{ActorStopReason, Infallible, RegistryError},
    mailbox,
    registry::ACTOR_REGISTRY,
    supervision::RestartPolicy,
};
use kameo_actors::{
    message_bus::{MessageBus, Publish, Register, Unregister},
    scheduler::Scheduler,
};
use std::{ops::ControlFlow, sync::PoisonError};

use crate::{
    driver::{
        Unsupported,
        actors::{Backend, Claim, Driver, Puppet, Shared, Soon, Subscription, Topic, World},
    },
    puppet::{Directive, Overflow, Script, Spec},
};

mod actor;
mod reference;
mod stage;

use actor::{Aides, Blue, KameoPuppet, Red, Tell, Ties};
use reference::KameoHandle;

/// What a mailbox holds that was given no bound, as in kameo itself.
const DEFAULT_CAPACITY: usize = 64;

/// Tells the names of one world from those of another in the registry, which all share.
static WORLDS: AtomicU64 = AtomicU64::new(0);

/// Opens worlds on kameo.
#[derive(Debug, Default)]
pub(super) struct Actors;

impl Driver for Actors {
    fn open(&self) -> World {
        let shared = Shared::new();
        let backend = Box::new(KameoWorld {
            guardian: Guardian::spawn(()),
            aides: Aides {
                scheduler: Scheduler::spawn(Scheduler::new()),
                bus: MessageBus::spawn(MessageBus::default()),
            },
            shared: Arc::clone(&shared),
            number: WORLDS.fetch_add(1, SeqCst),
        });
        World { backend, shared }
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        match claim {
            Claim::LivesWithoutReferences => {
                Err(Unsupported("life after the last reference is dropped"))
            }
            Claim::AskIsCancelled => Err(Unsupported("cancellation of an ask")),
            Claim::TimerGenerations => Err(Unsupported("timer but a task that tells later")),
            Claim::TimersEndWithIncarnation => Err(Unsupported("timer that belongs to an actor")),
            Claim::StopGoesFirst => Err(Unsupported(
                "stop but behind the messages that wait, or by abortion",
            )),
            Claim::StopsByDefault => Err(Unsupported(
                "indifference to the failure of a child by default",
            )),
            Claim::FixedDelay => Err(Unsupported("interval that waits for its actor")),
            Claim::RoomyByDefault => Err(Unsupported("mailbox of more than 64 by default")),
            Claim::StopOrder => Err(Unsupported("order in which children stop")),
            Claim::MovableWindow => Err(Unsupported("window but by the system's clock")),
            Claim::UnlimitedRestarts => Err(Unsupported("restart without a limit")),
            Claim::StartFailuresHaveClasses => Err(Unsupported("class of a failure to start")),
            Claim::WatchesTheDead => Err(Unsupported("link to an actor that has stopped")),
            Claim::SecondStopIsHarmless
            | Claim::AskSaysWhy
            | Claim::FreshState
            | Claim::FixedRate
            | Claim::ChildrenStopFirst
            | Claim::StrictBound
            | Claim::BoundedByDefault
            | Claim::EventsAreBounded
            | Claim::SelfSendsAreBounded => Ok(()),
        }
    }
}

/// The top of a world's tree.
struct Guardian;

impl Actor for Guardian {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self)
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        _: ActorId,
        _: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, Infallible> {
        Ok(ControlFlow::Continue(()))
    }
}

struct KameoWorld {
    guardian: ActorRef<Guardian>,
    aides: Aides,
    shared: Arc<Shared>,
    number: u64,
}

/// Returns the policy that a spec asks for, with its limit.
fn policy(spec: &Spec) -> Result<RestartPolicy, Unsupported> {
    match spec.overflow {
        None | Some(Overflow::DropNew | Overflow::Backpressure) => {}
        Some(_) => return Err(Unsupported("overflow strategies")),
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
        return Err(Unsupported("thread of one's own without threads"));
    }
    let Some(supervision) = &spec.supervision else {
        return Ok(RestartPolicy::Never);
    };
    supervision.is_plain()?;
    if supervision.backoff.is_some() {
        return Err(Unsupported("backoff"));
    }
    if supervision.escalate_at_limit {
        return Err(Unsupported("escalation at a limit"));
    }
    let restarts = |directive: &Directive| *directive == Directive::Restart;
    let ever = restarts(&supervision.otherwise)
        || supervision
            .rules
            .iter()
            .any(|(_, directive)| restarts(directive));
    Ok(if ever {
        RestartPolicy::Transient
    } else {
        RestartPolicy::Never
    })
}

/// Spawns a puppet under a supervisor.
async fn spawn_under<S: Actor>(
    supervisor: &ActorRef<S>,
    spec: Spec,
    shared: &Arc<Shared>,
    aides: &Aides,
) -> Result<Puppet, Unsupported> {
    let policy = policy(&spec)?;
    let capacity = spec.mailbox.unwrap_or(DEFAULT_CAPACITY);
    let waits = spec.overflow != Some(Overflow::DropNew);
    let (name, early) = (spec.name, spec.early);
    let limit = spec
        .supervision
        .as_ref()
        .and_then(|supervision| supervision.limit);
    let args = (spec, Arc::clone(shared), Ties::new(aides.clone()));
    let mut child = KameoPuppet::supervise(supervisor, args).restart_policy(policy);
    if let Some((restarts, window)) = limit {
        child = child.restart_limit(restarts, window);
    }
    let actor = child.spawn_with_mailbox(mailbox::bounded(capacity)).await;
    if !early {
        actor.wait_for_startup().await;
    }
    Ok(KameoHandle::puppet(actor, name, waits))
}

impl KameoWorld {
    fn name(&self, key: &str) -> String {
        format!("{} of world {}", key, self.number)
    }
}

impl Backend for KameoWorld {
    fn spawn(&self, spec: Spec) -> Soon<'_, Result<Puppet, Unsupported>> {
        Box::pin(spawn_under(&self.guardian, spec, &self.shared, &self.aides))
    }

    fn terminate(&self) -> Soon<'_, Result<(), Unsupported>> {
        Box::pin(async {
            let _it_may_have_stopped = self.guardian.stop_gracefully().await;
            self.guardian.wait_for_shutdown().await;
            Ok(())
        })
    }

    fn register(&self, key: &'static str, puppet: &Puppet) -> Result<(), Unsupported> {
        let actor = KameoHandle::of(puppet)?.actor();
        match actor.register(self.name(key)) {
            Ok(()) => Ok(()),
            Err(RegistryError::NameAlreadyRegistered) => Err(Unsupported("second actor of a name")),
            Err(_) => Err(Unsupported("such registration")),
        }
    }

    fn deregister(&self, key: &'static str, _: &Puppet) -> Result<(), Unsupported> {
        let mut registry = ACTOR_REGISTRY
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        registry.remove(self.name(key).as_str());
        Ok(())
    }

    fn tell_listed(&self, key: &'static str, script: Script) -> Result<usize, Unsupported> {
        let found = ActorRef::<KameoPuppet>::lookup(self.name(key).as_str());
        let Ok(Some(actor)) = found else {
            return Ok(0);
        };
        Ok(usize::from(actor.tell(Tell(script)).try_send().is_ok()))
    }

    fn subscribe<'a>(
        &'a self,
        topic: Topic,
        puppet: &'a Puppet,
    ) -> Soon<'a, Result<Subscription, Unsupported>> {
        Box::pin(async move {
            let actor = KameoHandle::of(puppet)?.actor();
            let (id, actor, bus) = (actor.id(), actor.clone(), &self.aides.bus);
            let told = match topic {
                Topic::Red => bus.tell(Register(actor.recipient::<Red>())).await.is_ok(),
                Topic::Blue => bus.tell(Register(actor.recipient::<Blue>())).await.is_ok(),
            };
            heard(told)?;
            Ok(Box::new((topic, id)) as Subscription)
        })
    }

    fn unsubscribe(&self, subscription: Subscription) -> Result<Option<bool>, Unsupported> {
        let subscription = subscription.downcast::<(Topic, ActorId)>();
        let (topic, id) =
            *subscription.map_err(|_| Unsupported("subscription of another library"))?;
        let bus = &self.aides.bus;
        heard(match topic {
            Topic::Red => bus.tell(Unregister::<Red>::new(id)).try_send().is_ok(),
            Topic::Blue => bus.tell(Unregister::<Blue>::new(id)).try_send().is_ok(),
        })?;
        Ok(None)
    }

    fn publish(&self, topic: Topic, number: i64) -> Result<Option<usize>, Unsupported> {
        let bus = &self.aides.bus;
        heard(match topic {
            Topic::Red => bus.tell(Publish(Red(number))).try_send().is_ok(),
            Topic::Blue => bus.tell(Publish(Blue(number))).try_send().is_ok(),
        })?;
        Ok(None)
    }
}

/// Ends the case when the bus of a world is too full to hear something.
fn heard(told: bool) -> Result<(), Unsupported> {
    told.then_some(()).ok_or(Unsupported("bus with room"))
}
