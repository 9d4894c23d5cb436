//! A probe: an actor that keeps the messages it receives until the test takes them.

use std::{any::type_name, fmt, panic::Location, sync::Arc, time::Duration};

use actix::{
    Actor, Handler, Message,
    dev::{MessageResponse, OneshotSender},
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::{Instant, timeout_at},
};

use crate::system::{ActorRef, ActorSystem, Context, Props, Recipient, StopCause, Terminated};

/// The resolution of tokio's timers. A shorter wait, even one of zero, lasts this long; so on paused time and under a
/// manual clock everything that can happen without time passing has happened by its end.
const RESOLUTION: Duration = Duration::from_millis(1);

/// Receives every message of one type, and answers asks when the test does.
///
/// Its mailbox is unbounded, and it never stops by itself. The waits use the time of the runtime that the test runs
/// on: virtual time if that is paused, as it always is under a [`super::ManualClock`].
pub struct Probe<M: Message + 'static> {
    actor: ActorRef<ProbeActor<M>>,
    system: ActorSystem,
    received: UnboundedReceiver<Asked<M>>,
    /// A message that was taken too early.
    next: Option<Asked<M>>,
}

/// The actor behind a [`Probe`].
pub struct ProbeActor<M: Message> {
    received: UnboundedSender<Asked<M>>,
}

/// A message that a probe received, with the means to answer it.
pub struct Asked<M: Message> {
    /// The message.
    pub message: M,
    reply: Option<OneshotSender<M::Result>>,
}

/// What [`Probe::fish_for`] does with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fish {
    /// Keeps it and goes on.
    Keep,
    /// Leaves it out and goes on.
    Skip,
    /// Keeps it and ends.
    Done,
    /// Fails the test, for this reason.
    Fail(String),
}

/// A probe of any message type, for [`super::ManualClock::expect_no_message_for`].
pub trait Quiet {
    /// Expects that no message has arrived.
    ///
    /// # Panics
    /// Panics if one has.
    fn assert_quiet(&mut self);
}

impl<M> Probe<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// Spawns a probe in `system`, on this thread.
    pub fn new(system: &ActorSystem, name: &str) -> Self {
        let (sender, received) = unbounded_channel();
        let props = Props::new(move || ProbeActor::new(sender.clone()));
        Self {
            actor: system.spawn(props.mailbox(usize::MAX), name),
            system: system.clone(),
            received,
            next: None,
        }
    }

    /// Returns a reference to the probe, as other actors hold it.
    pub fn actor_ref(&self) -> &ActorRef<ProbeActor<M>> {
        &self.actor
    }

    /// Returns the probe as a recipient.
    pub fn recipient(&self) -> Recipient<M> {
        self.actor.recipient()
    }

    /// Waits at most `max` for the next message. A wait of less than a millisecond lasts one millisecond, so that
    /// everything that can happen at once has happened: on paused time and under a manual clock, on every arbiter.
    ///
    /// An ask gets no answer then; use [`Probe::expect_asked`] to answer it.
    ///
    /// # Panics
    /// Panics if no message arrives.
    #[track_caller]
    pub fn expect_message(&mut self, max: Duration) -> impl Future<Output = M> {
        let asked = self.expect_asked(max);
        async { asked.await.message }
    }

    /// Waits at most `max` for the next message and expects it to be `wanted`.
    ///
    /// # Panics
    /// Panics if no message arrives, or a different one.
    #[track_caller]
    pub fn expect_eq(&mut self, wanted: &M, max: Duration) -> impl Future<Output = ()>
    where
        M: PartialEq + fmt::Debug,
    {
        let caller = Location::caller();
        let asked = self.expect_asked(max);
        async move {
            let message = asked.await.message;
            assert!(
                message == *wanted,
                "at {caller}: wanted {wanted:?}, received {message:?}"
            );
        }
    }

    /// Waits at most `max` for the next message and returns it with the means to answer it.
    ///
    /// # Panics
    /// Panics if no message arrives.
    #[track_caller]
    pub fn expect_asked(&mut self, max: Duration) -> impl Future<Output = Asked<M>> {
        let caller = Location::caller();
        let until = Instant::now() + max.max(RESOLUTION);
        async move {
            match self.next_until(until).await {
                Some(asked) => asked,
                None => panic!("at {caller}: no {} came within {max:?}", type_name::<M>()),
            }
        }
    }

    /// Waits for `duration`, at least a millisecond, and expects that no message arrives.
    ///
    /// # Panics
    /// Panics if a message arrives.
    #[track_caller]
    pub fn expect_no_message(&mut self, duration: Duration) -> impl Future<Output = ()> {
        let caller = Location::caller();
        let until = Instant::now() + duration.max(RESOLUTION);
        async move {
            assert!(
                self.next_until(until).await.is_none(),
                "at {caller}: a {} arrived, but none was expected",
                type_name::<M>()
            );
        }
    }

    /// Waits at most `max` in all for the next `count` messages.
    ///
    /// # Panics
    /// Panics if fewer arrive.
    #[track_caller]
    pub fn receive_messages(
        &mut self,
        count: usize,
        max: Duration,
    ) -> impl Future<Output = Vec<M>> {
        let caller = Location::caller();
        let until = Instant::now() + max.max(RESOLUTION);
        async move {
            let mut messages = Vec::new();
            while messages.len() < count {
                let Some(asked) = self.next_until(until).await else {
                    panic!(
                        "at {caller}: {} of {count} {} came within {max:?}",
                        messages.len(),
                        type_name::<M>()
                    )
                };
                messages.push(asked.message);
            }
            messages
        }
    }

    /// Waits at most `max` in all for the message for which `judge` returns [`Fish::Done`]. Returns the messages that
    /// `judge` kept.
    ///
    /// # Panics
    /// Panics if there is no such message in time, or if `judge` fails the test.
    #[track_caller]
    pub fn fish_for(
        &mut self,
        max: Duration,
        mut judge: impl FnMut(&M) -> Fish,
    ) -> impl Future<Output = Vec<M>> {
        let caller = Location::caller();
        let until = Instant::now() + max.max(RESOLUTION);
        async move {
            let mut kept = Vec::new();
            loop {
                let Some(Asked { message, .. }) = self.next_until(until).await else {
                    panic!(
                        "at {caller}: {} messages were kept, and the last did not come within {max:?}",
                        kept.len()
                    )
                };
                match judge(&message) {
                    Fish::Keep => kept.push(message),
                    Fish::Skip => {}
                    Fish::Done => {
                        kept.push(message);
                        return kept;
                    }
                    Fish::Fail(reason) => panic!("at {caller}: {reason}"),
                }
            }
        }
    }

    /// Waits at most `max` until `other` has stopped, and returns the cause. Returns at once if it has already
    /// stopped.
    ///
    /// # Panics
    /// Panics if it has not stopped by then.
    #[track_caller]
    pub fn expect_terminated<A: Actor>(
        &self,
        other: &ActorRef<A>,
        max: Duration,
    ) -> impl Future<Output = StopCause> {
        let caller = Location::caller();
        let until = Instant::now() + max.max(RESOLUTION);
        let (sender, terminated) = oneshot::channel::<Terminated>();
        // Each wait has its own key, so that a probe may wait for the same actor twice.
        let key = self.system.next_id();
        let watcher = Box::new(move |terminated| {
            let _the_wait_may_be_over = sender.send(terminated);
        });
        other.core.add_watcher(key, watcher);
        let core = Arc::clone(&other.core);
        async move {
            if let Ok(Ok(terminated)) = timeout_at(until, terminated).await {
                return terminated.cause;
            }
            core.remove_watcher(key);
            panic!("at {caller}: `{}` did not stop within {max:?}", core.path)
        }
    }

    /// Returns the next message if it has already arrived.
    pub fn try_receive(&mut self) -> Option<M> {
        let asked = self.next.take().or_else(|| self.received.try_recv().ok());
        asked.map(|asked| asked.message)
    }

    /// Stops the probe.
    pub fn stop(&self) {
        self.actor.stop();
    }

    async fn next_until(&mut self, until: Instant) -> Option<Asked<M>> {
        if let Some(asked) = self.next.take() {
            return Some(asked);
        }
        timeout_at(until, self.received.recv()).await.ok().flatten()
    }
}

impl<E: Message + Clone + Send + 'static> Probe<E>
where
    E::Result: Send,
{
    /// Spawns a probe that receives every event of this type in `system`: dead letters, restarts, or the
    /// program's own.
    pub fn of_events(system: &ActorSystem, name: &str) -> Self {
        let probe = Self::new(system, name);
        system.events().subscribe(probe.recipient());
        probe
    }
}

impl<M> Quiet for Probe<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn assert_quiet(&mut self) {
        if self.next.is_none() {
            self.next = self.received.try_recv().ok();
        }
        assert!(
            self.next.is_none(),
            "`{}` received a {}, but nothing was expected",
            self.actor.path(),
            type_name::<M>()
        );
    }
}

impl<M: Message> Asked<M> {
    /// Answers the message.
    ///
    /// # Panics
    /// Panics if the message was told and so has no asker. An asker that no longer waits is ignored.
    #[track_caller]
    pub fn reply(self, answer: M::Result) {
        match self.reply {
            Some(reply) => {
                let _the_asker_may_have_given_up = reply.send(answer);
            }
            None => panic!("a {} that was told has no asker", type_name::<M>()),
        }
    }

    /// Returns `true` if the message was asked and not told.
    pub fn has_asker(&self) -> bool {
        self.reply.is_some()
    }
}

impl<M: Message> ProbeActor<M> {
    pub(crate) fn new(received: UnboundedSender<Asked<M>>) -> Self {
        Self { received }
    }
}

impl<M: Message + 'static> Actor for ProbeActor<M> {
    type Context = Context<Self>;
}

impl<M> Handler<M> for ProbeActor<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Result = Later<M>;

    fn handle(&mut self, message: M, _: &mut Context<Self>) -> Later<M> {
        Later {
            message,
            received: self.received.clone(),
        }
    }
}

/// An answer that the test gives later.
pub struct Later<M: Message> {
    message: M,
    received: UnboundedSender<Asked<M>>,
}

impl<M> MessageResponse<ProbeActor<M>, M> for Later<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(self, _: &mut Context<ProbeActor<M>>, reply: Option<OneshotSender<M::Result>>) {
        let asked = Asked {
            message: self.message,
            reply,
        };
        let _the_probe_may_be_gone = self.received.send(asked);
    }
}

impl<M: Message + 'static> fmt::Debug for Probe<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Probe")
            .field(&self.actor.path())
            .finish()
    }
}

impl<M: Message + 'static> fmt::Debug for ProbeActor<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProbeActor").finish_non_exhaustive()
    }
}

impl<M: Message + fmt::Debug> fmt::Debug for Asked<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Asked")
            .field("message", &self.message)
            .field("has_asker", &self.has_asker())
            .finish_non_exhaustive()
    }
}

impl<M: Message> fmt::Debug for Later<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Later").finish_non_exhaustive()
    }
}
