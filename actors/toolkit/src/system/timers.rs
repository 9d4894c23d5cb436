//! Timers by key: starting a key again replaces its timer, and a cancelled one never fires.
//!
//! The cell itself checks the timers before it takes work, so the timers of a flooded actor are on time, and no
//! message of a cancelled timer can be queued. Pekko checks the latter with a generation in each message. A single
//! sleep waits for the first timer, regardless of their number.

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

/// The name of a timer.
pub(crate) type Key = Cow<'static, str>;

/// What a timer does when it fires.
pub(crate) type Action<A> = Box<dyn FnMut(&mut A, &mut <A as Actor>::Context)>;

/// The shortest time between two firings: the resolution of tokio's clock. Shorter ones would only spin.
const PERIOD_MIN: Duration = Duration::from_millis(1);
/// Longer than any wait in practice, and within the range of the clock.
const FAR_AWAY: Duration = Duration::from_hours(24 * 365 * 30);

/// When a timer fires again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Never.
    Once,
    /// This long after it fired.
    Delay(Duration),
    /// At multiples of this duration, including those that are late.
    Rate(Duration),
}

struct Timer<A: Actor> {
    /// When it fires, and its order among timers that fire then.
    due: (Instant, u64),
    repeat: Repeat,
    /// `None` while it runs.
    action: Option<Action<A>>,
    /// It fires when no message was handled for this long.
    quiet: Option<Duration>,
}

/// The timers of one incarnation.
pub(crate) struct Timers<A: Actor> {
    by_key: BTreeMap<Key, Timer<A>>,
    /// The active timers, by time and then by age.
    queue: BTreeMap<(Instant, u64), Key>,
    generation: u64,
    /// Waits for the first timer of the queue.
    sleep: Option<Pin<Box<Sleep>>>,
    /// `true` if the first of the queue may have changed since the sleep was set.
    pub(crate) dirty: bool,
    /// When the last message was handled, while there are timers that wait for quiet. They are put off when they are
    /// due, so that a message costs no more than a look at the clock.
    touched: Option<Instant>,
    quiet_count: usize,
}

/// A timer that is due, with its action.
pub(crate) struct Due<A: Actor> {
    key: Key,
    generation: u64,
    at: Instant,
    repeat: Repeat,
    pub(crate) action: Action<A>,
}

impl<A: Actor> Timers<A> {
    pub(crate) fn new() -> Self {
        Self {
            by_key: BTreeMap::new(),
            queue: BTreeMap::new(),
            generation: 0,
            sleep: None,
            dirty: false,
            touched: None,
            quiet_count: 0,
        }
    }

    /// Starts a timer that fires first after `delay`. Drops an existing timer of that key.
    pub(crate) fn start(&mut self, key: Key, delay: Duration, repeat: Repeat, action: Action<A>) {
        self.insert(key, delay, repeat, action, None);
    }

    /// Starts a timer that fires whenever no message was handled for `timeout`. Drops an existing timer of that key.
    pub(crate) fn start_quiet(&mut self, key: Key, timeout: Duration, action: Action<A>) {
        self.insert(key, timeout, Repeat::Delay(timeout), action, Some(timeout));
        self.quiet_count += 1;
    }

    /// Notes that a message is handled.
    pub(crate) fn touch(&mut self) {
        if self.quiet_count > 0 {
            self.touched = Some(Instant::now());
        }
    }

    fn insert(
        &mut self,
        key: Key,
        delay: Duration,
        repeat: Repeat,
        action: Action<A>,
        quiet: Option<Duration>,
    ) {
        self.cancel(&key);
        self.generation += 1;
        let due = (later(Instant::now(), delay), self.generation);
        self.queue.insert(due, key.clone());
        let timer = Timer {
            due,
            repeat,
            action: Some(action),
            quiet,
        };
        self.by_key.insert(key, timer);
        self.dirty = true;
    }

    pub(crate) fn cancel(&mut self, key: &str) -> bool {
        let Some(timer) = self.by_key.remove(key) else {
            return false;
        };
        self.queue.remove(&timer.due);
        self.quiet_count -= usize::from(timer.quiet.is_some());
        self.dirty = true;
        true
    }

    /// Cancels all timers. Returns their actions, which the caller must drop with care, because a drop may panic.
    pub(crate) fn clear(&mut self) -> Vec<Action<A>> {
        self.queue.clear();
        self.quiet_count = 0;
        self.sleep = None;
        let timers = std::mem::take(&mut self.by_key).into_values();
        timers.filter_map(|timer| timer.action).collect()
    }

    pub(crate) fn is_active(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// Returns the key of every timer, its generation and the time when it is due.
    #[cfg(feature = "testkit")]
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Key, u64, Instant)> {
        let timers = self.by_key.iter();
        timers.map(|(key, timer)| (key, timer.due.1, timer.due.0.max(self.quiet_until(timer))))
    }

    /// Returns when a timer that waits for quiet fires at the earliest by the last message.
    fn quiet_until(&self, timer: &Timer<A>) -> Instant {
        match (timer.quiet, self.touched) {
            (Some(quiet), Some(touched)) => later(touched, quiet),
            _ => timer.due.0,
        }
    }

    /// Takes the first due timer. The caller returns it with [`Timers::fired`] after its action ran. A timer that
    /// fires once is not active any more by then.
    pub(crate) fn take_due(&mut self, task: &mut Task<'_>) -> Option<Due<A>> {
        loop {
            let (&(at, _), _) = self.queue.first_key_value()?;
            if at > Instant::now() && !self.passes(at, task) {
                self.dirty = false;
                return None;
            }
            let ((at, generation), key) = self.queue.pop_first()?;
            let until = self.quiet_until(self.by_key.get(&key)?);
            let timer = self.by_key.get_mut(&key)?;
            if until > at {
                timer.due.0 = until;
                self.queue.insert(timer.due, key);
                continue;
            }
            let (repeat, action) = (timer.repeat, timer.action.take());
            if repeat == Repeat::Once {
                self.by_key.remove(&key);
            }
            if let Some(action) = action {
                return Some(Due {
                    key,
                    generation,
                    at,
                    repeat,
                    action,
                });
            }
        }
    }

    /// Returns `true` if `at` has passed; otherwise the task is woken then.
    fn passes(&mut self, at: Instant, task: &mut Task<'_>) -> bool {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(task) == Poll::Ready(())
    }

    /// Schedules the next firing of a timer, unless its action cancelled or replaced it.
    pub(crate) fn fired(&mut self, due: Due<A>) {
        let next = match due.repeat {
            Repeat::Once => return,
            Repeat::Delay(delay) => later(Instant::now(), delay.max(PERIOD_MIN)),
            Repeat::Rate(interval) => later(due.at, interval.max(PERIOD_MIN)),
        };
        let Some(timer) = self.by_key.get_mut(&due.key) else {
            return;
        };
        if timer.due.1 != due.generation {
            return;
        }
        timer.due.0 = next;
        timer.action = Some(due.action);
        self.queue.insert(timer.due, due.key);
        self.dirty = true;
    }
}

fn later(from: Instant, delay: Duration) -> Instant {
    from.checked_add(delay).unwrap_or_else(|| from + FAR_AWAY)
}

impl<A: Actor> fmt::Debug for Timers<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.by_key.keys()).finish()
    }
}
