//! Actix's actors as puppets.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex},
};

use actix::{Actor, Addr, Context, Supervisor, SystemRegistry, SystemService};
use actix_broker::{Broker, SystemBroker};

use crate::{
    driver::{
        Unsupported,
        actors::{
            Backend, Claim, Driver, MOMENT, Puppet, Shared, Soon, Subscription, Topic, World,
        },
    },
    puppet::{Body, Directive, Overflow, Script, Spec, Supervision},
};

mod actor;
mod reference;
mod stage;

use actor::{ActixPuppet, Blue, Red, Subscribe, Tell};
use reference::ActixHandle;

/// Opens worlds on actix.
#[derive(Debug, Default)]
pub(super) struct Actors;

impl Driver for Actors {
    fn open(&self) -> World {
        let shared = Shared::new();
        let backend = Box::new(ActixWorld {
            shared: Arc::clone(&shared),
            service: RefCell::new(None),
        });
        World { backend, shared }
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        match claim {
            Claim::LivesWithoutReferences => {
                Err(Unsupported("life after the last address is dropped"))
            }
            Claim::AskSaysWhy => Err(Unsupported("reason of an ask's end but `Closed`")),
            Claim::ChildrenStopFirst | Claim::StopOrder => Err(Unsupported("children")),
            Claim::StopGoesFirst => Err(Unsupported("stop from outside")),
            Claim::FixedDelay => Err(Unsupported("interval with a fixed delay")),
            Claim::BoundedByDefault => Err(Unsupported("bound for `do_send`")),
            Claim::StartFailuresHaveClasses => Err(Unsupported("class of a failure")),
            Claim::WatchesTheDead => Err(Unsupported("death watch")),
            Claim::SecondStopIsHarmless => Err(Unsupported("stop from outside")),
            Claim::EventsAreBounded => Err(Unsupported("bound for what a broker issues")),
            Claim::SelfSendsAreBounded => Err(Unsupported("bound for `notify`")),
            Claim::AskIsCancelled
            | Claim::FreshState
            | Claim::TimerGenerations
            | Claim::TimersEndWithIncarnation
            | Claim::StrictBound
            | Claim::StopsByDefault
            | Claim::UnlimitedRestarts
            | Claim::FixedRate
            | Claim::RoomyByDefault
            | Claim::MovableWindow => Ok(()),
        }
    }
}

struct ActixWorld {
    shared: Arc<Shared>,
    /// The service that the system registry was last given.
    service: RefCell<Option<Puppet>>,
}

/// Returns `true` if the supervisor is asked for.
fn is_supervised(supervision: Option<&Supervision>) -> Result<bool, Unsupported> {
    let Some(supervision) = supervision else {
        return Ok(false);
    };
    supervision.is_plain()?;
    if !supervision.rules.is_empty() {
        return Err(Unsupported("supervision by the class of a failure"));
    }
    if supervision.limit.is_some() || supervision.backoff.is_some() {
        return Err(Unsupported("limit or backoff of restarts"));
    }
    match supervision.otherwise {
        Directive::Restart => Ok(true),
        Directive::Stop => Ok(false),
        Directive::Resume => Err(Unsupported("resuming after a failure")),
        Directive::Escalate => Err(Unsupported("escalation")),
    }
}

fn start(spec: Spec, shared: &Arc<Shared>) -> Result<Addr<ActixPuppet>, Unsupported> {
    let supervised = is_supervised(spec.supervision.as_ref())?;
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
    if (spec.making_fails)(1) {
        return Err(Unsupported("factory that is the actor's own"));
    }
    let elsewhere = spec.elsewhere;
    let shared = Arc::clone(shared);
    let make = move |ctx: &mut Context<ActixPuppet>| {
        if let Some(capacity) = spec.mailbox {
            ctx.set_mailbox_capacity(capacity);
        }
        ActixPuppet::new(Body::new(spec, shared))
    };
    Ok(match (supervised, elsewhere) {
        (true, false) => Supervisor::start(make),
        (true, true) => Supervisor::start_in_arbiter(&actix_rt::Arbiter::new().handle(), make),
        (false, false) => ActixPuppet::create(make),
        (false, true) => ActixPuppet::start_in_arbiter(&actix_rt::Arbiter::new().handle(), make),
    })
}

impl Backend for ActixWorld {
    fn spawn(&self, spec: Spec) -> Soon<'_, Result<Puppet, Unsupported>> {
        let bounded = spec.mailbox.is_some();
        let started = start(spec, &self.shared);
        Box::pin(async move { Ok(ActixHandle::puppet(started?, bounded)) })
    }

    fn register(&self, key: &'static str, puppet: &Puppet) -> Result<(), Unsupported> {
        let service = self.service.replace(Some(puppet.clone()));
        if key != "key" || service.is_some_and(|service| service.is_alive()) {
            return Err(Unsupported("second service of a type"));
        }
        SystemRegistry::set(ActixHandle::of(puppet)?.address());
        Ok(())
    }

    fn tell_listed(&self, key: &'static str, script: Script) -> Result<usize, Unsupported> {
        if key != "key" || self.service.borrow().is_none() {
            return Err(Unsupported("key of a service that was never started"));
        }
        ActixPuppet::from_registry().do_send(Tell(script));
        Ok(1)
    }

    fn subscribe<'a>(
        &'a self,
        topic: Topic,
        puppet: &'a Puppet,
    ) -> Soon<'a, Result<Subscription, Unsupported>> {
        Box::pin(async move {
            ActixHandle::of(puppet)?.address().do_send(Subscribe(topic));
            // It is subscribed when it has handled that, and the broker what it says then.
            tokio::time::sleep(MOMENT).await;
            Ok(Box::new(()) as Subscription)
        })
    }

    fn unsubscribe(&self, _: Subscription) -> Result<Option<bool>, Unsupported> {
        Err(Unsupported("end of a subscription but with its actor"))
    }

    fn publish(&self, topic: Topic, number: i64) -> Result<Option<usize>, Unsupported> {
        match topic {
            Topic::Red => Broker::<SystemBroker>::issue_async(Red(number)),
            Topic::Blue => Broker::<SystemBroker>::issue_async(Blue(number)),
        }
        Ok(None)
    }
}

impl Default for ActixPuppet {
    /// The registry makes a service that nobody set; no case comes to that.
    fn default() -> Self {
        Self::new(Body::new(Spec::named("service"), Shared::new()))
    }
}

impl SystemService for ActixPuppet {}

/// Addresses are shared with other threads only inside of puppets, each with one of its own.
type Slot = Mutex<Addr<ActixPuppet>>;
