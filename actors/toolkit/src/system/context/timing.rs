//! Timers by key, and the receive timeout.

use std::time::Duration;

use actix::{Actor, Handler, Message};

use super::Context;
use crate::system::{
    response::respond,
    timers::{Action, Key, Repeat},
};

/// The key of the receive timeout among the timers; no user's key starts with a NUL.
const RECEIVE_TIMEOUT: &str = "\0receive-timeout";
/// The key of the timeout of a machine's state.
const STATE_TIMEOUT: &str = "\0state-timeout";

impl<A> Context<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Handles `message` once after `delay`; replaces the timer of that key. All timers end at a restart and
    /// at a stop.
    pub fn start_timer<M>(&mut self, key: impl Into<Key>, message: M, delay: Duration)
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        let mut message = Some(message);
        let action = Box::new(move |actor: &mut A, ctx: &mut Self| {
            if let Some(message) = message.take() {
                let response = actor.handle(message, ctx);
                respond::<A, M>(response, ctx, None);
            }
        });
        self.timers.start(key.into(), delay, Repeat::Once, action);
    }

    /// Handles a copy of `message` repeatedly, each time `delay` (at least a millisecond) after the last time. A
    /// late timer delays all later ones; missed ones are not made up for.
    pub fn start_timer_with_fixed_delay<M>(
        &mut self,
        key: impl Into<Key>,
        message: M,
        delay: Duration,
    ) where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        self.repeat(key.into(), message, delay, Repeat::Delay(delay));
    }

    /// Handles a copy of `message` at each multiple of `interval`, which is at least a millisecond. Missed ones
    /// follow at once.
    pub fn start_timer_at_fixed_rate<M>(
        &mut self,
        key: impl Into<Key>,
        message: M,
        interval: Duration,
    ) where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        self.repeat(key.into(), message, interval, Repeat::Rate(interval));
    }

    fn repeat<M>(&mut self, key: Key, message: M, first: Duration, repeat: Repeat)
    where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        self.timers.start(key, first, repeat, handling(message));
    }

    /// Cancels a timer, which then never fires. Returns `false` if there was none.
    pub fn cancel_timer(&mut self, key: &str) -> bool {
        self.timers.cancel(key)
    }

    /// Returns `true` if a timer of that key is running.
    pub fn is_timer_active(&self, key: &str) -> bool {
        self.timers.is_active(key)
    }

    /// Handles a copy of `message` whenever no message has been handled for `timeout`.
    ///
    /// Every message resets the timeout, except those sent by `ActorRef::tell_unnoticed`. Timers do not reset it;
    /// in Pekko they do, unless their message is a `NotInfluenceReceiveTimeout`.
    pub fn set_receive_timeout<M>(&mut self, timeout: Duration, message: M)
    where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        self.receive_timeout = Some(timeout);
        let action = handling(message);
        self.timers
            .start_quiet(RECEIVE_TIMEOUT.into(), timeout, action);
    }

    /// Ends the receive timeout.
    pub fn cancel_receive_timeout(&mut self) {
        self.receive_timeout = None;
        self.timers.cancel(RECEIVE_TIMEOUT);
    }

    /// Calls `action` whenever no message was handled for `timeout`; replaces the last one.
    pub(crate) fn start_state_timeout(
        &mut self,
        timeout: Duration,
        mut action: impl FnMut(&mut A, &mut Self) + 'static,
    ) {
        let action = Box::new(move |actor: &mut A, ctx: &mut Self| action(actor, ctx));
        self.timers
            .start_quiet(STATE_TIMEOUT.into(), timeout, action);
    }

    pub(crate) fn cancel_state_timeout(&mut self) {
        self.timers.cancel(STATE_TIMEOUT);
    }

    /// Notes that a message is handled, which resets the receive timeout and the timeout of a state.
    pub(crate) fn touch(&mut self) {
        self.timers.touch();
    }
}

/// Returns the action that handles copies of a message.
fn handling<A, M>(message: M) -> Action<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Clone + 'static,
{
    Box::new(move |actor: &mut A, ctx: &mut Context<A>| {
        let response = actor.handle(message.clone(), ctx);
        respond::<A, M>(response, ctx, None);
    })
}
