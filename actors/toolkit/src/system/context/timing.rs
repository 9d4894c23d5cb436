//! Timers by key, and the receive timeout.

use std::time::Duration;

use actix::{Actor, Handler, Message};

use super::Context;
use crate::system::{
    response::respond,
    timers::{Key, Repeat},
};

/// The key of the receive timeout among the timers; no user's key starts with a NUL.
const RECEIVE_TIMEOUT: &str = "\0receive-timeout";

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
        let action = Box::new(move |actor: &mut A, ctx: &mut Self| {
            let response = actor.handle(message.clone(), ctx);
            respond::<A, M>(response, ctx, None);
        });
        self.timers.start(key, first, repeat, action);
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
        self.repeat(
            RECEIVE_TIMEOUT.into(),
            message,
            timeout,
            Repeat::Delay(timeout),
        );
    }

    /// Ends the receive timeout.
    pub fn cancel_receive_timeout(&mut self) {
        self.receive_timeout = None;
        self.timers.cancel(RECEIVE_TIMEOUT);
    }

    /// Resets the receive timeout, because a message is handled.
    pub(crate) fn touch(&mut self) {
        if let Some(timeout) = self.receive_timeout {
            self.timers.postpone(RECEIVE_TIMEOUT, timeout);
        }
    }
}
