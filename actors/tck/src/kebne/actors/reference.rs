//! A Kebne reference as the driver's handle.

use std::time::Duration;

use kebne_actors::system::{ActorRef, AskError};

use super::{
    actor::{Ask, KebnePuppet, Tell},
    offer, reference,
};
use crate::{
    driver::{
        Unsupported,
        actors::{Handle, Offer, Puppet, Refusal, Soon},
    },
    puppet::{Answer, Script},
};

pub(super) struct KebneHandle(pub(super) ActorRef<KebnePuppet>);

/// Wraps a reference.
pub(super) fn puppet(actor: ActorRef<KebnePuppet>) -> Puppet {
    Puppet::new(KebneHandle(actor))
}

impl Handle for KebneHandle {
    fn tell(&self, script: Script) -> Result<Offer, Unsupported> {
        Ok(offer(self.0.tell(Tell(script))))
    }

    fn offer(&self, script: Script) -> Soon<'static, Result<Offer, Unsupported>> {
        let actor = self.0.clone();
        Box::pin(async move { Ok(offer(actor.offer(Tell(script)).await)) })
    }

    fn tell_with_priority(&self, script: Script, priority: u8) -> Result<Offer, Unsupported> {
        Ok(offer(self.0.tell_with_priority(Tell(script), priority)))
    }

    fn control(&self, script: Script) -> Result<Offer, Unsupported> {
        Ok(offer(self.0.control(Tell(script))))
    }

    fn tell_by_recipient(&self, script: Script) -> Result<Offer, Unsupported> {
        Ok(offer(self.0.recipient().tell(Tell(script))))
    }

    fn ask(&self, script: Script, timeout: Duration) -> Soon<'static, Result<Answer, Refusal>> {
        let actor = self.0.clone();
        Box::pin(async move {
            let answered = actor.ask(Ask(script), timeout).await;
            answered.map_err(|error| match error {
                AskError::Stopped => Refusal::Stopped,
                AskError::Restarting => Refusal::Restarting,
                AskError::Failed => Refusal::Failed,
                AskError::Interrupted => Refusal::Interrupted,
                AskError::TimedOut => Refusal::TimedOut,
                AskError::MailboxFull => Refusal::MailboxFull,
            })
        })
    }

    fn stop(&self) -> Result<(), Unsupported> {
        self.0.stop();
        Ok(())
    }

    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    fn path(&self) -> Result<String, Unsupported> {
        Ok(self.0.path().to_owned())
    }

    fn waiting(&self) -> Result<usize, Unsupported> {
        Ok(self.0.report().mailbox)
    }

    fn restarts(&self) -> Result<u32, Unsupported> {
        Ok(self.0.report().restarts)
    }

    fn duplicate(&self) -> Puppet {
        puppet(self.0.clone())
    }

    fn is_same(&self, other: &Puppet) -> Result<bool, Unsupported> {
        Ok(&self.0 == reference(other)?)
    }
}
