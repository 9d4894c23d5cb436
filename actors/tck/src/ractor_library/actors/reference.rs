//! A ractor reference as the driver's handle.

use std::time::Duration;

use ractor::{ActorRef, ActorStatus, DerivedActorRef, MessagingErr, rpc::CallResult};

use super::actor::{Order, TellOnly};
use crate::{
    driver::{
        Unsupported,
        actors::{Handle, Offer, Puppet, Refusal, Soon},
    },
    puppet::{Answer, Script},
};

pub(super) struct RactorHandle(ActorRef<Order>);

impl RactorHandle {
    pub(super) fn puppet(actor: ActorRef<Order>) -> Puppet {
        Puppet::new(Self(actor))
    }

    pub(super) fn of(puppet: &Puppet) -> Result<&ActorRef<Order>, Unsupported> {
        let handle = puppet.handle::<Self>();
        handle
            .map(|handle| &handle.0)
            .ok_or(Unsupported("puppet of another library"))
    }
}

fn offer<M>(sent: &Result<(), MessagingErr<M>>) -> Offer {
    match sent {
        Ok(()) => Offer::Enqueued,
        Err(_) => Offer::Closed,
    }
}

/// Asks a puppet.
pub(super) async fn ask(
    actor: ActorRef<Order>,
    script: Script,
    timeout: Duration,
) -> Result<Answer, Refusal> {
    let called = actor
        .call(|port| Order::Ask(script, port), Some(timeout))
        .await;
    match called {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(Refusal::TimedOut),
        Ok(CallResult::SenderError) => Err(Refusal::Unknown),
        Err(_) => Err(Refusal::Stopped),
    }
}

impl Handle for RactorHandle {
    fn tell(&self, script: Script) -> Result<Offer, Unsupported> {
        Ok(offer(&self.0.send_message(Order::Tell(script))))
    }

    fn tell_by_recipient(&self, script: Script) -> Result<Offer, Unsupported> {
        let recipient: DerivedActorRef<TellOnly> = self.0.get_derived();
        Ok(offer(&recipient.send_message(TellOnly(script))))
    }

    fn ask(&self, script: Script, timeout: Duration) -> Soon<'static, Result<Answer, Refusal>> {
        Box::pin(ask(self.0.clone(), script, timeout))
    }

    fn stop(&self) -> Result<(), Unsupported> {
        self.0.stop(None);
        Ok(())
    }

    fn is_alive(&self) -> bool {
        !matches!(
            self.0.get_status(),
            ActorStatus::Stopping | ActorStatus::Stopped
        )
    }

    fn duplicate(&self) -> Puppet {
        Self::puppet(self.0.clone())
    }

    fn is_same(&self, other: &Puppet) -> Result<bool, Unsupported> {
        Ok(self.0.get_id() == Self::of(other)?.get_id())
    }
}
