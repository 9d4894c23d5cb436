//! An actix address as the driver's handle.

use std::{sync::PoisonError, time::Duration};

use actix::{Addr, MailboxError, Recipient, dev::SendError};

use super::{
    Slot,
    actor::{ActixPuppet, Ask, Tell},
};
use crate::{
    driver::{
        Unsupported,
        actors::{Handle, Offer, Puppet, Refusal, Soon},
    },
    puppet::{Answer, Script},
};

pub(super) struct ActixHandle {
    /// The one address that this handle stands for: a clone of it would have a slot of its own in the mailbox.
    address: Slot,
    /// A bound was asked for, so that messages are tried and not forced.
    bounded: bool,
}

impl ActixHandle {
    pub(super) fn puppet(address: Addr<ActixPuppet>, bounded: bool) -> Puppet {
        Puppet::new(Self {
            address: Slot::new(address),
            bounded,
        })
    }

    pub(super) fn of(puppet: &Puppet) -> Result<&Self, Unsupported> {
        let handle = puppet.handle::<Self>();
        handle.ok_or(Unsupported("puppet of another library"))
    }

    fn with<T>(&self, act: impl FnOnce(&Addr<ActixPuppet>) -> T) -> T {
        act(&self.address.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn address(&self) -> Addr<ActixPuppet> {
        self.with(Clone::clone)
    }
}

fn offer(tried: &Result<(), SendError<Tell>>) -> Offer {
    match tried {
        Ok(()) => Offer::Enqueued,
        Err(SendError::Full(_)) => Offer::Dropped,
        Err(SendError::Closed(_)) => Offer::Closed,
    }
}

impl Handle for ActixHandle {
    fn tell(&self, script: Script) -> Result<Offer, Unsupported> {
        Ok(self.with(|address| {
            if self.bounded {
                return offer(&address.try_send(Tell(script)));
            }
            if !address.connected() {
                return Offer::Closed;
            }
            address.do_send(Tell(script));
            Offer::Enqueued
        }))
    }

    fn tell_by_recipient(&self, script: Script) -> Result<Offer, Unsupported> {
        let recipient: Recipient<Tell> = self.address().recipient();
        Ok(offer(&recipient.try_send(Tell(script))))
    }

    fn ask(&self, script: Script, timeout: Duration) -> Soon<'static, Result<Answer, Refusal>> {
        let address = self.address();
        Box::pin(async move {
            let answered = address.send(Ask(script)).timeout(timeout).await;
            answered.map_err(|error| match error {
                MailboxError::Closed => Refusal::Unknown,
                MailboxError::Timeout => Refusal::TimedOut,
            })
        })
    }

    fn stop(&self) -> Result<(), Unsupported> {
        Err(Unsupported("stop from outside"))
    }

    fn is_alive(&self) -> bool {
        self.with(Addr::connected)
    }

    fn duplicate(&self) -> Puppet {
        Self::puppet(self.address(), self.bounded)
    }

    fn is_same(&self, other: &Puppet) -> Result<bool, Unsupported> {
        let other = Self::of(other)?.address();
        Ok(self.with(|address| *address == other))
    }
}
