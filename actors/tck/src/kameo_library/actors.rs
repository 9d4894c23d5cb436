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
use std::{ops::ControlFlow, sync::PoisonError};

use crate::{
    driver::{
        Unsupported,
        actors::{Backend, Claim, Driver, Puppet, Shared, Soon, World},
    },
    puppet::{Directive, Overflow, Script, Spec},
};

mod actor;
mod reference;
mod stage;

use actor::{KameoPuppet, Tell, Ties};
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
            Claim::FixedDelay | Claim::FixedRate => Err(Unsupported("repeated timer")),
            Claim::RoomyByDefault => Err(Unsupported("mailbox of more than 64 by default")),
            Claim::MovableWindow => Err(Unsupported("window but by the system's clock")),
            Claim::UnlimitedRestarts => Err(Unsupported("restart without a limit")),
            Claim::StartFailuresHaveClasses => Err(Unsupported("class of a failure to start")),
            Claim::WatchesTheDead => Err(Unsupported("link to an actor that has stopped")),
            Claim::SecondStopIsHarmless
            | Claim::AskSaysWhy
            | Claim::FreshState
            | Claim::ChildrenStopFirst
            | Claim::StrictBound
            | Claim::BoundedByDefault
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
    shared: Arc<Shared>,
    number: u64,
}

/// Returns the policy that a spec asks for, with its limit.
fn policy(spec: &Spec) -> Result<RestartPolicy, Unsupported> {
    match spec.overflow {
        None | Some(Overflow::DropNew | Overflow::Backpressure) => {}
        Some(_) => return Err(Unsupported("overflow strategies")),
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
) -> Result<Puppet, Unsupported> {
    let policy = policy(&spec)?;
    let capacity = spec.mailbox.unwrap_or(DEFAULT_CAPACITY);
    let waits = spec.overflow != Some(Overflow::DropNew);
    let (name, early) = (spec.name, spec.early);
    let limit = spec
        .supervision
        .as_ref()
        .and_then(|supervision| supervision.limit);
    let args = (spec, Arc::clone(shared), Arc::new(Ties::default()));
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
        Box::pin(spawn_under(&self.guardian, spec, &self.shared))
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
}
