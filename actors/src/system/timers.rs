//! Timers by key: starting a key again replaces its timer, and a cancelled one never fires.
//!
//! They are polled by the cell itself, before work is taken, so that a flooded actor's timers are on time
//! and no message of a dead timer can be under way.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context as Task, Poll},
    time::Duration,
};

use actix::Actor;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer's name.
pub(crate) type Key = Cow<'static, str>;

/// What a timer does when it fires.
pub(crate) type Action<A> = Box<dyn FnMut(&mut A, &mut <A as Actor>::Context)>;

/// When a timer fires again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Not at all.
    Once,
    /// This long after it fired.
    Delay(Duration),
    /// At multiples of this, late ones included.
    Rate(Duration),
}

struct Timer<A: Actor> {
    sleep: Pin<Box<Sleep>>,
    repeat: Repeat,
    generation: u64,
    /// Taken out while it runs.
    action: Option<Action<A>>,
}

/// The timers of one incarnation.
pub(crate) struct Timers<A: Actor> {
    by_key: BTreeMap<Key, Timer<A>>,
    generation: u64,
    /// A timer was started since the last poll, so its sleep has no waker yet.
    pub(crate) dirty: bool,
}

/// A timer that is due, with its action.
pub(crate) struct Due<A: Actor> {
    key: Key,
    generation: u64,
    pub(crate) action: Action<A>,
}

impl<A: Actor> Timers<A> {
    pub(crate) fn new() -> Self {
        Self {
            by_key: BTreeMap::new(),
            generation: 0,
            dirty: false,
        }
    }

    pub(crate) fn start(&mut self, key: Key, first: Instant, repeat: Repeat, action: Action<A>) {
        self.generation += 1;
        self.dirty = true;
        let timer = Timer {
            sleep: Box::pin(sleep_until(first)),
            repeat,
            generation: self.generation,
            action: Some(action),
        };
        self.by_key.insert(key, timer);
    }

    pub(crate) fn cancel(&mut self, key: &str) -> bool {
        self.by_key.remove(key).is_some()
    }

    /// Sets a timer to fire `delay` from now.
    pub(crate) fn postpone(&mut self, key: &str, delay: Duration) {
        if let Some(timer) = self.by_key.get_mut(key) {
            timer.sleep.as_mut().reset(Instant::now() + delay);
            self.dirty = true;
        }
    }

    pub(crate) fn is_active(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns every timer's key, its generation and when it is due.
    #[cfg(feature = "testkit")]
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Key, u64, Instant)> {
        let timers = self.by_key.iter();
        timers.map(|(key, timer)| (key, timer.generation, timer.sleep.deadline()))
    }

    /// Takes the first due timer; it is settled with [`Timers::fired`] after its action ran.
    pub(crate) fn take_due(&mut self, task: &mut Task<'_>) -> Option<Due<A>> {
        for (key, timer) in &mut self.by_key {
            if timer.action.is_some() && timer.sleep.as_mut().poll(task) == Poll::Ready(()) {
                let action = timer.action.take()?;
                return Some(Due {
                    key: key.clone(),
                    generation: timer.generation,
                    action,
                });
            }
        }
        self.dirty = false;
        None
    }

    /// Sets a timer that fired for its next time, unless its action cancelled or replaced it.
    pub(crate) fn fired(&mut self, due: Due<A>) {
        let Some(timer) = self.by_key.get_mut(&due.key) else {
            return;
        };
        if timer.generation != due.generation {
            return;
        }
        let next = match timer.repeat {
            Repeat::Once => {
                self.by_key.remove(&due.key);
                return;
            }
            Repeat::Delay(delay) => Instant::now() + delay,
            Repeat::Rate(interval) => timer.sleep.deadline() + interval,
        };
        timer.sleep.as_mut().reset(next);
        timer.action = Some(due.action);
        self.dirty = true;
    }
}

impl<A: Actor> fmt::Debug for Timers<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.by_key.keys()).finish()
    }
}
