//! The puppet as an actor of kameo.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kameo::{
    actor::{Actor, ActorId, ActorRef, WeakActorRef},
    error::{ActorStopReason, Infallible, PanicError},
    message::{Context, Message},
    reply::DelegatedReply,
};
use kameo_actors::{message_bus::MessageBus, scheduler::Scheduler};
use tokio::{task::AbortHandle, time::sleep};

use super::stage::OnKameo;
use crate::{
    driver::actors::Shared,
    puppet::{Answer, Body, Class, Directive, Performed, Script, Spec, receive},
};

/// The error by which a puppet fails.
#[derive(Clone, Debug)]
pub(super) struct PuppetError(pub(super) Class);

/// The actors of kameo's companion crate that serve a world.
#[derive(Clone)]
pub(super) struct Aides {
    /// For timers that repeat.
    pub(super) scheduler: ActorRef<Scheduler>,
    /// For events.
    pub(super) bus: ActorRef<MessageBus>,
}

/// What binds an actor to others; it outlives the actor's restarts, as the links do.
pub(super) struct Ties {
    bonds: Mutex<Bonds>,
    pub(super) aides: Aides,
}

#[derive(Debug, Default)]
pub(super) struct Bonds {
    /// Whom it watches, with their names.
    pub(super) watched: HashMap<ActorId, &'static str>,
    /// Without whom it cannot live.
    pub(super) pacts: HashSet<ActorId>,
    /// Children whose failure is its own.
    pub(super) escalating: HashSet<ActorId>,
    /// Timers, by key.
    pub(super) timers: BTreeMap<&'static str, AbortHandle>,
}

impl Ties {
    pub(super) fn new(aides: Aides) -> Arc<Self> {
        let bonds = Mutex::default();
        Arc::new(Self { bonds, aides })
    }

    pub(super) fn bonds(&self) -> MutexGuard<'_, Bonds> {
        self.bonds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct KameoPuppet {
    body: Body,
    ties: Arc<Ties>,
}

/// A script told.
#[derive(Clone)]
pub(super) struct Tell(pub(super) Script);

/// A script asked.
pub(super) struct Ask(pub(super) Script);

impl Actor for KameoPuppet {
    type Args = (Spec, Arc<Shared>, Arc<Ties>);
    type Error = PuppetError;

    async fn on_start(
        (spec, shared, ties): Self::Args,
        myself: ActorRef<Self>,
    ) -> Result<Self, PuppetError> {
        let mut body = Body::new(spec, shared);
        let mut stage = OnKameo::starting(myself, Arc::clone(&ties));
        match body.started(&mut stage).await {
            Performed::Failed(class) => Err(PuppetError(class)),
            _ => Ok(Self { body, ties }),
        }
    }

    async fn on_panic(
        &mut self,
        _: WeakActorRef<Self>,
        error: PanicError,
    ) -> Result<ControlFlow<ActorStopReason>, PuppetError> {
        let class = error.with_downcast_ref(|PuppetError(class)| *class);
        let class = class.unwrap_or(Class::Panic);
        let supervision = self.body.spec.supervision.as_ref();
        let Some(supervision) = supervision else {
            return Ok(ControlFlow::Break(ActorStopReason::Panicked(error)));
        };
        Ok(match supervision.directive(class) {
            Directive::Resume => ControlFlow::Continue(()),
            // A normal end is what the policy does not restart.
            Directive::Stop if !supervision.rules.is_empty() => {
                ControlFlow::Break(ActorStopReason::Normal)
            }
            _ => ControlFlow::Break(ActorStopReason::Panicked(error)),
        })
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        id: ActorId,
        reason: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, PuppetError> {
        let (name, pact, escalates) = {
            let mut bonds = self.ties.bonds();
            let name = bonds.watched.remove(&id);
            (name, bonds.pacts.remove(&id), bonds.escalating.remove(&id))
        };
        let failed = !matches!(
            reason,
            ActorStopReason::Normal | ActorStopReason::SupervisorRestart
        );
        if let Some(name) = name {
            let how = if failed { "fail" } else { "stop" };
            self.body.note(&format!("saw {name} {how}"));
        }
        let fatal = ControlFlow::Break(ActorStopReason::LinkDied {
            id,
            reason: Box::new(reason),
        });
        if pact && failed {
            return Ok(fatal);
        }
        if !(escalates && failed) {
            return Ok(ControlFlow::Continue(()));
        }
        let supervision = self.body.spec.supervision.as_ref();
        let directive = supervision.map(|supervision| supervision.directive(Class::Child));
        Ok(match directive {
            Some(Directive::Resume) => ControlFlow::Continue(()),
            Some(Directive::Stop) => ControlFlow::Break(ActorStopReason::Normal),
            _ => fatal,
        })
    }

    async fn on_stop(
        &mut self,
        myself: WeakActorRef<Self>,
        _: ActorStopReason,
    ) -> Result<(), PuppetError> {
        let mut stage = OnKameo::stopping(&myself, Arc::clone(&self.ties));
        self.body.stopped(&mut stage).await;
        Ok(())
    }
}

impl Message<Tell> for KameoPuppet {
    type Reply = Result<(), PuppetError>;

    async fn handle(
        &mut self,
        Tell(script): Tell,
        ctx: &mut Context<Self, Self::Reply>,
    ) -> Result<(), PuppetError> {
        let mut stage = OnKameo::running(ctx.actor_ref().clone(), Arc::clone(&self.ties));
        let performed = receive(&mut self.body, &mut stage, script).await;
        if stage.stops() {
            ctx.stop();
        }
        match performed {
            Performed::Failed(class) => Err(PuppetError(class)),
            _ => Ok(()),
        }
    }
}

impl Message<Ask> for KameoPuppet {
    type Reply = DelegatedReply<Result<Answer, Infallible>>;

    async fn handle(
        &mut self,
        Ask(script): Ask,
        ctx: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        let mut stage = OnKameo::running(ctx.actor_ref().clone(), Arc::clone(&self.ties));
        let performed = receive(&mut self.body, &mut stage, script).await;
        if stage.stops() {
            ctx.stop();
        }
        let (delegated, sender) = ctx.reply_sender();
        match (performed, sender) {
            (Performed::Answer(answer), Some(sender)) => sender.send(Ok(answer)),
            (Performed::Later(delay, answer), Some(sender)) => {
                tokio::spawn(async move {
                    sleep(delay).await;
                    sender.send(Ok(answer));
                });
            }
            // In kameo the error of an ask is its answer, and no failure of the actor.
            (Performed::Failed(_) | Performed::Within(..) | Performed::Never, _) | (_, None) => {}
        }
        delegated
    }
}

/// An event of the red topic.
#[derive(Clone)]
pub(super) struct Red(pub(super) i64);

/// An event of the blue topic.
#[derive(Clone)]
pub(super) struct Blue(pub(super) i64);

impl Message<Red> for KameoPuppet {
    type Reply = ();

    async fn handle(&mut self, Red(number): Red, _: &mut Context<Self, ()>) {
        self.body.note(&format!("red {number}"));
    }
}

impl Message<Blue> for KameoPuppet {
    type Reply = ();

    async fn handle(&mut self, Blue(number): Blue, _: &mut Context<Self, ()>) {
        self.body.note(&format!("blue {number}"));
    }
}
