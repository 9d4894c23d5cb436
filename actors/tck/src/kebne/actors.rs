//! Kebne's actors as puppets: every concept of the driver has its counterpart, one to one.

use std::{future::ready, sync::Arc};

use kebne_actors::system::{
    ActorRef, ActorSystem, DeadLetter, EventStream, Offer as KebneOffer, Recipient, Restarted,
    ServiceKey, Subscription,
};

use crate::{
    driver::{
        Unsupported,
        actors::{
            Backend, Claim, Driver, Offer, Puppet, Shared, Soon, Subscription as Ticket, Topic,
            World,
        },
    },
    puppet::{Script, Spec},
};

mod actor;
mod props;
mod reference;
mod stage;

use actor::{Event, KebnePuppet, Tell};

/// Opens worlds on Kebne.
#[derive(Debug, Default)]
pub(super) struct Actors;

impl Driver for Actors {
    fn open(&self) -> World {
        let shared = Shared::new();
        let backend = Box::new(KebneWorld {
            system: ActorSystem::new("tck", crate::case::SEED),
            shared: Arc::clone(&shared),
        });
        World { backend, shared }
    }

    fn claims(&self, _: Claim) -> Result<(), Unsupported> {
        Ok(())
    }
}

struct KebneWorld {
    system: ActorSystem,
    shared: Arc<Shared>,
}

impl KebneWorld {
    fn events(&self) -> &EventStream {
        self.system.events()
    }
}

/// Returns the Kebne reference of a puppet, which is all that ever gets here.
fn reference(puppet: &Puppet) -> Result<&ActorRef<KebnePuppet>, Unsupported> {
    let handle = puppet.handle::<reference::KebneHandle>();
    handle
        .map(|handle| &handle.0)
        .ok_or(Unsupported("puppet of another library"))
}

fn offer(offer: KebneOffer) -> Offer {
    match offer {
        KebneOffer::Enqueued => Offer::Enqueued,
        KebneOffer::Dropped => Offer::Dropped,
        KebneOffer::Closed => Offer::Closed,
        KebneOffer::Failed => Offer::Failed,
    }
}

impl Backend for KebneWorld {
    fn spawn(&self, spec: Spec) -> Soon<'_, Result<Puppet, Unsupported>> {
        let name = spec.name;
        let props = props::props(spec, &self.shared);
        let actor = self.system.spawn(props, name);
        Box::pin(async move { Ok(reference::puppet(actor)) })
    }

    fn terminate(&self) -> Soon<'_, Result<(), Unsupported>> {
        Box::pin(async {
            self.system.terminate().await;
            Ok(())
        })
    }

    fn dead_letters(&self) -> Result<u64, Unsupported> {
        Ok(self.system.dead_letters())
    }

    fn note_dead_letters(&self) -> Result<(), Unsupported> {
        let shared = Arc::clone(&self.shared);
        let subscriber = Recipient::new(move |letter: DeadLetter| {
            shared.note(format!("dead {}", letter.path));
            KebneOffer::Enqueued
        });
        self.events().subscribe(subscriber);
        Ok(())
    }

    fn note_restarts(&self) -> Result<(), Unsupported> {
        let shared = Arc::clone(&self.shared);
        let subscriber = Recipient::new(move |restarted: Restarted| {
            shared.note(format!("restarted {}", restarted.path));
            KebneOffer::Enqueued
        });
        self.events().subscribe(subscriber);
        Ok(())
    }

    fn when_failed(&self) -> Soon<'_, Result<String, Unsupported>> {
        Box::pin(async { Ok(self.system.when_failed().await) })
    }

    fn catches_panics(&self) -> Result<bool, Unsupported> {
        Ok(ActorSystem::catches_panics())
    }

    fn tree(&self) -> Result<Vec<String>, Unsupported> {
        let tree = self.system.tree();
        Ok(tree.iter().map(|report| report.path.to_string()).collect())
    }

    fn register(&self, key: &'static str, puppet: &Puppet) -> Result<(), Unsupported> {
        let key = ServiceKey::<Tell>::new(key);
        self.system
            .receptionist()
            .register(&key, reference(puppet)?);
        Ok(())
    }

    fn deregister(&self, key: &'static str, puppet: &Puppet) -> Result<(), Unsupported> {
        let key = ServiceKey::<Tell>::new(key);
        self.system
            .receptionist()
            .deregister(&key, reference(puppet)?);
        Ok(())
    }

    fn tell_listed(&self, key: &'static str, script: Script) -> Result<usize, Unsupported> {
        let listing = self
            .system
            .receptionist()
            .find(&ServiceKey::<Tell>::new(key));
        let offers = listing
            .0
            .iter()
            .map(|s| s.recipient.tell(Tell(script.clone())));
        Ok(offers.filter(|offer| offer.is_enqueued()).count())
    }

    fn subscribe_listing(&self, key: &'static str, puppet: &Puppet) -> Result<(), Unsupported> {
        let subscriber = reference(puppet)?.recipient();
        let key = ServiceKey::<Tell>::new(key);
        self.system.receptionist().subscribe(&key, subscriber);
        Ok(())
    }

    fn subscribe<'a>(
        &'a self,
        topic: Topic,
        puppet: &'a Puppet,
    ) -> Soon<'a, Result<Ticket, Unsupported>> {
        let subscribe = |actor: &ActorRef<KebnePuppet>| match topic {
            Topic::Red => self.events().subscribe::<Event<true>>(actor.recipient()),
            Topic::Blue => self.events().subscribe::<Event<false>>(actor.recipient()),
        };
        let ticket = reference(puppet).map(|actor| -> Ticket { Box::new(subscribe(actor)) });
        Box::pin(ready(ticket))
    }

    fn unsubscribe(&self, ticket: Ticket) -> Result<Option<bool>, Unsupported> {
        let subscription = ticket.downcast::<Subscription>();
        let subscription =
            subscription.map_err(|_| Unsupported("subscription of another library"))?;
        Ok(Some(self.events().unsubscribe(*subscription)))
    }

    fn publish(&self, topic: Topic, number: i64) -> Result<Option<usize>, Unsupported> {
        Ok(Some(match topic {
            Topic::Red => self.events().publish(&Event::<true>(number)),
            Topic::Blue => self.events().publish(&Event::<false>(number)),
        }))
    }
}
