//! Death watch: the actors that an actor watches, and how it is notified.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use actix::{Actor, Handler, Message};

use super::Context;
use crate::system::{
    actor_ref::ActorRef,
    catch::guard,
    core::{Core, Signal},
    message_ref::MessageRef,
    messages::Watched,
    watch::Terminated,
};

/// A watch that has not ended.
pub(crate) struct Watch {
    /// Shared with the notification; `false` once the watch has ended.
    active: Arc<AtomicBool>,
    /// Removes the watcher from the watched actor.
    forget: Box<dyn FnOnce()>,
}

impl Watch {
    /// Returns `true` if the watch has not ended.
    #[cfg(feature = "testkit")]
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(SeqCst)
    }
}

impl<A> Context<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Watches `other`: this actor receives [`Terminated`] once when `other` stops (not at a restart), at once if
    /// it has stopped. The message comes behind those that `other` told this actor before it stopped, and is never
    /// dropped.
    ///
    /// Watching the same actor again, by any of these methods, replaces the watch; in Pekko a `watch` and a
    /// `watchWith` of one actor are an error. A watch outlives this actor's restarts, unless it is of a child that
    /// the restart stops. Without a handler of [`Terminated`] this does not compile; use [`Context::watch_or_die`]
    /// for Pekko's death pact.
    pub fn watch<C>(&mut self, other: &ActorRef<C>)
    where
        C: Actor,
        A: Handler<Terminated>,
    {
        let active = self.begin_watch(other);
        let id = other.core.id;
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |terminated| tell_watcher(&core, terminated, id, active));
        other.core.add_watcher(self.core.id, watcher);
    }

    /// As [`Context::watch`], with a custom message.
    pub fn watch_with<C, M>(&mut self, other: &ActorRef<C>, message: M)
    where
        C: Actor,
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let active = self.begin_watch(other);
        let id = other.core.id;
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |_| tell_watcher(&core, message, id, active));
        other.core.add_watcher(self.core.id, watcher);
    }

    /// As [`Context::watch_with`], of an actor of which one message type is known.
    pub fn watch_narrow<N, M>(&mut self, other: &MessageRef<N>, message: M)
    where
        N: Message + 'static,
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let id = other.id();
        let (watched, myself) = (other.clone(), self.core.id);
        let active = self.note_watch(id, Box::new(move || watched.cell().unwatched_by(myself)));
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |_| tell_watcher(&core, message, id, active));
        other.cell().watched_by(self.core.id, watcher);
    }

    /// Makes this actor fail when `other` stops: a death pact, which in Akka follows from each unhandled
    /// `Terminated`.
    pub fn watch_or_die<C: Actor>(&mut self, other: &ActorRef<C>) {
        let active = self.begin_watch(other);
        let id = other.core.id;
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |terminated| {
            core.signal(Signal::DeathPact {
                terminated,
                id,
                active,
            });
        });
        other.core.add_watcher(self.core.id, watcher);
    }

    fn begin_watch<C: Actor>(&mut self, other: &ActorRef<C>) -> Arc<AtomicBool> {
        let (watched, myself) = (Arc::clone(&other.core), self.core.id);
        let forget = Box::new(move || watched.remove_watcher(myself));
        self.note_watch(other.core.id, forget)
    }

    fn note_watch(&mut self, other: u64, forget: Box<dyn FnOnce()>) -> Arc<AtomicBool> {
        let active = Arc::new(AtomicBool::new(true));
        let watch = Watch {
            active: Arc::clone(&active),
            forget,
        };
        if let Some(old) = self.watching.insert(other, watch) {
            old.active.store(false, SeqCst);
        }
        active
    }

    /// Ends a watch. Its message is not handled any more, even if it is already queued.
    pub fn unwatch<C: Actor>(&mut self, other: &ActorRef<C>) {
        self.end_watch(other.core.id);
    }

    pub(crate) fn end_watch(&mut self, other: u64) {
        if let Some(watch) = self.watching.remove(&other) {
            watch.active.store(false, SeqCst);
            (watch.forget)();
        }
    }

    /// Removes a watch whose message is being handled. Returns `false` if it had ended.
    pub(crate) fn watch_fired(&mut self, other: u64, active: &Arc<AtomicBool>) -> bool {
        let known = self.watching.get(&other);
        if known.is_some_and(|watch| Arc::ptr_eq(&watch.active, active)) {
            self.watching.remove(&other);
        }
        active.swap(false, SeqCst)
    }

    /// Ends all watches, so that actors that live longer do not keep this one in memory.
    pub(crate) fn end_all_watches(&mut self) {
        for watch in std::mem::take(&mut self.watching).into_values() {
            watch.active.store(false, SeqCst);
            guard(&self.core.path, watch.forget);
        }
    }
}

/// Tells a watcher, behind the messages that the watched actor told it before.
fn tell_watcher<A, M>(core: &Core<A>, message: M, id: u64, active: Arc<AtomicBool>)
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
{
    let watched = Box::new(Watched {
        message,
        id,
        active,
    });
    let _a_stopped_watcher_needs_no_news = core.mailbox.offer_essential(watched);
}
