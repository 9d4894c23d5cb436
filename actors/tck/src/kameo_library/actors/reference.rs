//! A kameo reference as the driver's handle.

use std::time::Duration;

use kameo::{actor::ActorRef, error::SendError};

use super::actor::{Ask, KameoPuppet, Tell};
use crate::{
    driver::{
        Unsupported,
        actors::{Handle, Offer, Puppet, Refusal, Soon},
    },
    puppet::{Answer, Script},
};

pub(super) struct KameoHandle {
    actor: ActorRef<KameoPuppet>,
    pub(super) name: &'static str,
    /// An ask waits for room, and is not refused by a full mailbox.
    waits: bool,
}

impl KameoHandle {
    pub(super) fn puppet(actor: ActorRef<KameoPuppet>, name: &'static str, waits: bool) -> Puppet {
        Puppet::new(Self { actor, name, waits })
    }

    pub(super) fn of(puppet: &Puppet) -> Result<&Self, Unsupported> {
        let handle = puppet.handle::<Self>();
        handle.ok_or(Unsupported("puppet of another library"))
    }

    pub(super) fn actor(&self) -> &ActorRef<KameoPuppet> {
        &self.actor
    }
}

fn offer(sent: &Result<(), SendError<Tell>>) -> Offer {
    match sent {
        Ok(()) => Offer::Enqueued,
        Err(SendError::MailboxFull(_)) => Offer::Dropped,
        Err(_) => Offer::Closed,
    }
}

/// Asks a puppet.
pub(super) async fn ask(
    actor: ActorRef<KameoPuppet>,
    waits: bool,
    script: Script,
    timeout: Duration,
) -> Result<Answer, Refusal> {
    let ask = actor.ask(Ask(script)).reply_timeout(timeout);
    let answered = if waits {
        // One timeout for both: the wait for room, and for the answer.
        let asked = tokio::time::timeout(timeout, ask.send()).await;
        asked.unwrap_or(Err(SendError::Timeout(None)))
    } else {
        ask.try_send().await
    };
    answered.map_err(
        |error: SendError<Ask, kameo::error::Infallible>| match error {
            SendError::ActorNotRunning(_) => Refusal::Stopped,
            SendError::ActorRestarting(_) => Refusal::Restarting,
            SendError::ActorStopped | SendError::HandlerError(_) => Refusal::Failed,
            SendError::MailboxFull(_) => Refusal::MailboxFull,
            SendError::Timeout(_) => Refusal::TimedOut,
        },
    )
}

impl Handle for KameoHandle {
    fn tell(&self, script: Script) -> Result<Offer, Unsupported> {
        Ok(offer(&self.actor.tell(Tell(script)).try_send()))
    }

    fn offer(&self, script: Script) -> Soon<'static, Result<Offer, Unsupported>> {
        let actor = self.actor.clone();
        Box::pin(async move {
            let sent = actor.tell(Tell(script)).send().await;
            Ok(offer(&sent))
        })
    }

    fn tell_by_recipient(&self, script: Script) -> Result<Offer, Unsupported> {
        let recipient = self.actor.clone().recipient::<Tell>();
        Ok(offer(&recipient.tell(Tell(script)).try_send()))
    }

    fn ask(&self, script: Script, timeout: Duration) -> Soon<'static, Result<Answer, Refusal>> {
        Box::pin(ask(self.actor.clone(), self.waits, script, timeout))
    }

    fn stop(&self) -> Result<(), Unsupported> {
        let actor = self.actor.clone();
        tokio::spawn(async move {
            let _it_may_have_stopped = actor.stop_gracefully().await;
        });
        Ok(())
    }

    fn is_alive(&self) -> bool {
        self.actor.is_alive()
    }

    fn waiting(&self) -> Result<usize, Unsupported> {
        let mailbox = self.actor.mailbox_sender();
        let free = mailbox.capacity().zip(mailbox.max_capacity());
        free.map(|(free, max)| max - free)
            .ok_or(Unsupported("count of waiting messages"))
    }

    fn duplicate(&self) -> Puppet {
        Self::puppet(self.actor.clone(), self.name, self.waits)
    }

    fn is_same(&self, other: &Puppet) -> Result<bool, Unsupported> {
        Ok(self.actor.id() == Self::of(other)?.actor.id())
    }
}
