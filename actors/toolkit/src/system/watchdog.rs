//! Reports actors that block their thread with a handler that computes or blocks for too long.
//!
//! A separate thread checks the actors that asked for it. Their own threads cannot, because nothing runs on a blocked
//! thread, timers included. The watchdog measures real time even if a test has paused tokio's clock, because a real
//! thread is blocked. It only reports; a handler cannot be interrupted.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use actix::Message;

use super::event_stream::EventStream;
use crate::clock::real_now;

/// The shortest time between two checks.
const LOOK_MIN: Duration = Duration::from_millis(1);

/// Published when an actor blocks its thread for longer than its limit, while it still does.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Blocked {
    /// The actor.
    pub path: Arc<str>,
    /// The type of the message that it handles, or its other activity.
    pub doing: &'static str,
    /// The limit, set by `Props::report_blocked_after`.
    pub limit: Duration,
}

/// The current activity of one actor.
#[derive(Debug)]
pub(crate) struct Beat {
    path: Arc<str>,
    limit: Duration,
    doing: Mutex<Option<Doing>>,
}

#[derive(Debug)]
struct Doing {
    since: Instant,
    what: &'static str,
    reported: bool,
}

impl Beat {
    /// Notes that the user's code begins.
    pub(crate) fn begin(&self, what: &'static str) {
        *lock(&self.doing) = Some(Doing {
            since: real_now(),
            what,
            reported: false,
        });
    }

    /// Notes that the user's code has ended.
    pub(crate) fn end(&self) {
        let ended = lock(&self.doing).take();
        if let Some(doing) = ended.filter(|doing| doing.reported) {
            let held = real_now().duration_since(doing.since);
            let (path, what) = (&self.path, doing.what);
            tracing::error!(actor = %path, doing = what, ?held, "an actor has released its thread");
        }
    }

    /// Returns the report that is due, once for each time the code runs.
    fn check(&self, now: Instant) -> Option<Blocked> {
        let mut doing = lock(&self.doing);
        let doing = doing.as_mut().filter(|doing| !doing.reported)?;
        if now.saturating_duration_since(doing.since) < self.limit {
            return None;
        }
        doing.reported = true;
        Some(Blocked {
            path: Arc::clone(&self.path),
            doing: doing.what,
            limit: self.limit,
        })
    }
}

/// Checks the activity of the actors of one system.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    watched: Mutex<Watched>,
    /// Notified when another actor is watched, whose limit may be shorter.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Watched {
    beats: Vec<Weak<Beat>>,
    /// The thread runs while there is something to watch.
    running: bool,
}

impl Watchdog {
    /// Watches an actor for as long as the returned beat lives.
    pub(crate) fn watch(
        self: &Arc<Self>,
        path: Arc<str>,
        limit: Duration,
        events: &EventStream,
    ) -> Arc<Beat> {
        let beat = Arc::new(Beat {
            path,
            limit,
            doing: Mutex::new(None),
        });
        let mut watched = lock(&self.watched);
        watched.beats.push(Arc::downgrade(&beat));
        if watched.running {
            self.changed.notify_one();
            return beat;
        }
        let (myself, events) = (Arc::clone(self), events.clone());
        let thread = thread::Builder::new().name("kebne-watchdog".into());
        match thread.spawn(move || myself.run(&events)) {
            Ok(_) => watched.running = true,
            Err(error) => tracing::error!(%error, "the watchdog thread cannot be started"),
        }
        beat
    }

    fn run(&self, events: &EventStream) {
        let mut watched = lock(&self.watched);
        loop {
            let beats: Vec<_> = watched.beats.iter().filter_map(Weak::upgrade).collect();
            watched.beats.retain(|beat| beat.strong_count() > 0);
            let Some(least) = beats.iter().map(|beat| beat.limit).min() else {
                watched.running = false;
                return;
            };
            drop(watched);
            let now = real_now();
            for blocked in beats.iter().filter_map(|beat| beat.check(now)) {
                let Blocked { path, doing, limit } = &blocked;
                tracing::error!(actor = %path, doing, ?limit, "an actor blocks its thread");
                events.publish(&blocked);
            }
            drop(beats);
            let pause = (least / 2).max(LOOK_MIN);
            let waited = self.changed.wait_timeout(lock(&self.watched), pause);
            (watched, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
