//! An actor that never runs: its messages wait until the test takes them.

use std::{any::type_name, fmt, rc::Rc, sync::Arc};

use actix::Message;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::probe::{Asked, ProbeActor};
use crate::system::{
    ActorRef, ActorSystem, Context, Overflow, Recipient,
    context::Bridge,
    core::ParentKind,
    core::{AnyCell, Core},
    mailbox::Bounds,
};

/// Keeps its messages, for a test without a runtime: see [`super::BehaviourKit::inbox`].
pub struct Inbox<M: Message + 'static> {
    actor: ProbeActor<M>,
    ctx: Context<ProbeActor<M>>,
    received: UnboundedReceiver<Asked<M>>,
}

impl<M> Inbox<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    pub(crate) fn new(system: &ActorSystem, name: &str) -> Self {
        let core = Arc::new(Core::new(
            system.next_id(),
            format!("/user/{name}").into(),
            Bounds {
                capacity: usize::MAX,
                overflow: Overflow::default(),
                control: usize::MAX,
            },
            system.dead_letter_box(),
        ));
        system.register(Arc::clone(&core) as Arc<dyn AnyCell>, ParentKind::Actor);
        let (sender, received) = unbounded_channel();
        Self {
            actor: ProbeActor::new(sender),
            ctx: Context::new(core, system.clone(), Rc::new(Bridge::new()), 1, 0),
            received,
        }
    }

    /// Returns a reference to the inbox, as other actors hold it.
    pub fn actor_ref(&self) -> ActorRef<ProbeActor<M>> {
        self.ctx.self_ref()
    }

    /// Returns the inbox as a recipient.
    pub fn recipient(&self) -> Recipient<M> {
        self.actor_ref().recipient()
    }

    /// Takes the next message, with the means to answer it.
    pub fn take_asked(&mut self) -> Option<Asked<M>> {
        let mailbox = &self.ctx.core.mailbox;
        let envelope = mailbox.take_control().or_else(|| mailbox.take_work())?;
        envelope.begin();
        envelope.deliver(&mut self.actor, &mut self.ctx);
        self.received.try_recv().ok()
    }

    /// Takes all messages.
    pub fn take_all(&mut self) -> Vec<M> {
        std::iter::from_fn(|| self.take_asked().map(|asked| asked.message)).collect()
    }
}

impl<M: Message + 'static> fmt::Debug for Inbox<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Inbox")
            .field("path", &self.ctx.path())
            .field("message", &type_name::<M>())
            .finish_non_exhaustive()
    }
}
