//! One server of the schedule.

use std::{sync::Arc, time::Duration};

use kebne_control::{LoadTimes, Timestamp};
use serde::Serialize;

use super::{Again, BACKOFF, Effect, PROVED, ServerId, View, WANTED_FOR};
use crate::room::Room;

/// The shortest time that a server which is not loaded is expected to need.
const ETA_MIN: Duration = Duration::from_millis(500);

/// The failures in a row from which on a server counts as one that fails: one alone may be an accident.
const REPEATED: u32 = 2;

/// The phase of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is not running.
    Stopped,
    /// It was started and does not serve yet.
    Starting,
    /// It serves.
    Ready,
    /// It gets no new calls and serves its last ones.
    Closing,
    /// It is being stopped.
    Stopping,
}

/// What the schedule must know of a server.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The name. Two servers of one name do not run at the same time.
    pub name: Arc<str>,
    /// The device.
    pub device: Arc<str>,
    /// The room that it takes from its start to its end.
    pub room: Room,
    /// `true` to start it without a call and to keep it without calls.
    pub keep_warm: bool,
    /// The time without a call after which it is stopped; `None` if it is kept.
    pub idle_timeout: Option<Duration>,
    /// The least time for which it is loaded before it makes room.
    pub min_loaded: Duration,
    /// The longest time that its calls wait for a server with calls to make room.
    pub wait_max: Duration,
}

/// Whether a server may be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As its terms say.
    InUse,
    /// An operator has stopped it: it is not kept warm until it is wanted.
    Held,
    /// It is gone from the settings.
    Removed,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) terms: Terms,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Timestamp,
    pub(super) busy: bool,
    pub(super) last_used: Timestamp,
    /// When the first of the waiting calls arrived.
    pub(super) wanted_since: Option<Timestamp>,
    /// When the last waiting call left; `None` while one waits.
    pub(super) left_at: Option<Timestamp>,
    /// An operator wants it loaded, and it has not been started for it yet.
    is_ordered: bool,
    /// For which server it makes room.
    pub(super) makes_room_for: Option<ServerId>,
    pub(super) standing: Standing,
    pub(super) failures_in_row: u32,
    /// It failed before it served, and has not served since.
    never_served: bool,
    /// When it may be started again.
    pub(super) not_before: Timestamp,
    /// When the servers in its way may make room, if that is a matter of time.
    pub(super) due: Option<Timestamp>,
    pub(super) load_times: LoadTimes,
    loads: u64,
    pub(super) swaps: u64,
    failures: u64,
}

impl Entry {
    pub(super) fn new(terms: Terms, load_times: LoadTimes, now: Timestamp) -> Self {
        Self {
            terms,
            phase: Phase::Stopped,
            since: now,
            busy: false,
            last_used: now,
            wanted_since: None,
            left_at: None,
            is_ordered: false,
            makes_room_for: None,
            standing: Standing::InUse,
            failures_in_row: 0,
            never_served: false,
            not_before: Timestamp::ZERO,
            due: None,
            load_times,
            loads: 0,
            swaps: 0,
            failures: 0,
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.since = now;
    }

    pub(super) fn want(&mut self, now: Timestamp) {
        self.wanted_since.get_or_insert(now);
        self.left_at = None;
        self.release();
    }

    pub(super) fn unwant(&mut self, now: Timestamp) {
        if self.wanted_since.is_some() {
            self.left_at.get_or_insert(now);
        }
    }

    /// Wants it as a call does that has left already, until it was started once.
    pub(super) fn load(&mut self, now: Timestamp) {
        if self.phase != Phase::Ready {
            self.want(now);
            self.unwant(now);
            self.is_ordered = true;
            self.not_before = now.min(self.not_before);
        }
        self.release();
    }

    /// Stops it, and takes back what operators and calls that have left wanted.
    pub(super) fn unload(&mut self, server: ServerId, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.standing == Standing::InUse {
            self.standing = Standing::Held;
        }
        self.is_ordered = false;
        if self.left_at.is_some() {
            self.wanted_since = None;
            self.left_at = None;
        }
        self.leave(server, now, effects);
    }

    fn release(&mut self) {
        if self.standing == Standing::Held {
            self.standing = Standing::InUse;
        }
    }

    pub(super) fn forget_old_wish(&mut self, now: Timestamp) {
        let is_old = self
            .left_at
            .is_some_and(|left| now.since(left) >= WANTED_FOR);
        if is_old && !self.is_ordered {
            self.wanted_since = None;
            self.left_at = None;
        }
    }

    pub(super) fn ready(&mut self, now: Timestamp) {
        if self.phase != Phase::Starting {
            return;
        }
        self.load_times.record(now.since(self.since));
        self.loads += 1;
        self.never_served = false;
        self.wanted_since = None;
        self.left_at = None;
        self.is_ordered = false;
        self.due = None;
        self.busy = false;
        self.last_used = now;
        self.enter(Phase::Ready, now);
    }

    /// Nothing is left of the process.
    pub(super) fn ended(&mut self, now: Timestamp) {
        let was_told = matches!(self.phase, Phase::Stopping | Phase::Stopped);
        if !was_told {
            self.failures += 1;
            let was_loaded = matches!(self.phase, Phase::Ready | Phase::Closing);
            let is_first = was_loaded && now.since(self.since) >= PROVED;
            self.failures_in_row = if is_first {
                1
            } else {
                self.failures_in_row.saturating_add(1)
            };
        }
        self.never_served |= !was_told && self.phase == Phase::Starting;
        // One that was stopped while it was tried again waits too.
        let waits = !was_told || self.never_served;
        if waits {
            self.not_before = now.after(self.backoff());
        }
        self.is_ordered &= was_told;
        self.busy = false;
        self.makes_room_for = None;
        self.enter(Phase::Stopped, now);
    }

    /// Returns the wait before it is started again.
    pub(super) fn backoff(&self) -> Duration {
        let doublings = self.failures_in_row.checked_sub(1);
        let wait = doublings.map(|doublings| BACKOFF.0.saturating_mul(1 << doublings.min(16)));
        wait.unwrap_or_default().min(BACKOFF.1)
    }

    /// Stops it, after its last call.
    pub(super) fn leave(&mut self, server: ServerId, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Starting => {
                self.enter(Phase::Stopping, now);
                effects.push(Effect::Stop(server));
            }
            Phase::Ready => {
                self.enter(Phase::Closing, now);
                effects.push(Effect::Close(server));
            }
            Phase::Stopped | Phase::Closing | Phase::Stopping => {}
        }
    }

    /// Returns `true` if it takes room.
    pub(super) fn takes_room(&self) -> bool {
        self.phase != Phase::Stopped
    }

    pub(super) fn is_kept_warm(&self) -> bool {
        self.terms.keep_warm && self.standing == Standing::InUse
    }

    /// Returns `true` if its last start failed.
    pub(super) fn is_failing(&self) -> bool {
        self.never_served
    }

    /// Returns when it was used last; a server that has just been loaded counts as used.
    pub(super) fn last_used(&self) -> Timestamp {
        self.last_used.max(self.since)
    }

    /// Returns when it is to be stopped because no call comes.
    pub(super) fn idle_end(&self) -> Option<Timestamp> {
        let timeout = self.terms.idle_timeout?;
        let may = self.phase == Phase::Ready && !self.busy && !self.is_kept_warm();
        may.then(|| self.last_used().after(timeout))
    }

    /// Returns the times at which a decision about it may change.
    pub(super) fn wakeups(&self) -> impl Iterator<Item = Timestamp> {
        let left_at = self.left_at.filter(|_| !self.is_ordered);
        let forgotten = left_at.map(|left| left.after(WANTED_FOR));
        let is_awaited = self.wanted_since.is_some() || self.is_kept_warm();
        let again = (self.phase == Phase::Stopped && is_awaited).then_some(self.not_before);
        [forgotten, again, self.due, self.idle_end()]
            .into_iter()
            .flatten()
    }

    /// Returns whether this server may make room for another, or else when; `None` if that is not a matter of time. Calls of the
    /// other one have waited too long from `overdue_at` on; `None` if it may only have what nobody uses. A server counts as used
    /// for `linger` after its last call.
    pub(super) fn may_make_room(
        &self,
        overdue_at: Option<Timestamp>,
        linger: Duration,
        now: Timestamp,
    ) -> Result<(), Option<Timestamp>> {
        match self.phase {
            // It holds back nobody whose server is in order.
            Phase::Starting if self.is_failing() && overdue_at.is_some() => Ok(()),
            Phase::Ready => {
                let earliest = self.since.after(self.terms.min_loaded);
                if now < earliest {
                    return Err(Some(earliest));
                }
                if overdue_at.is_some_and(|overdue_at| now >= overdue_at) {
                    return Ok(());
                }
                if self.busy || self.is_kept_warm() {
                    return Err(overdue_at);
                }
                let idle_at = self.last_used().after(linger);
                if now < idle_at {
                    return Err(Some(overdue_at.map_or(idle_at, |at| at.min(idle_at))));
                }
                Ok(())
            }
            _ => Err(None),
        }
    }

    pub(super) fn view(&self, now: Timestamp) -> View {
        View {
            phase: self.phase,
            age: now.since(self.since),
            loads: self.loads,
            swaps: self.swaps,
            failures: self.failures,
            failures_in_row: self.failures_in_row,
            is_failing: self.is_failing(),
            failing: self.failing(now),
            waiting: self.wanted_since.map(|since| now.since(since)),
            eta: self.eta(now),
        }
    }

    /// Returns when it is started again if it fails.
    fn failing(&self, now: Timestamp) -> Option<Again> {
        if self.phase != Phase::Stopped {
            return self.is_failing().then_some(Again::Now);
        }
        let wait = self.not_before.since(now);
        let is_repeated = self.failures_in_row >= REPEATED && !wait.is_zero();
        (self.is_failing() || is_repeated).then_some(Again::In(wait))
    }

    /// Returns the time after which it is expected to serve.
    fn eta(&self, now: Timestamp) -> Option<Duration> {
        if self.phase == Phase::Ready {
            return Some(Duration::ZERO);
        }
        let load = self.load_times.expected()?;
        let start = if self.phase == Phase::Starting {
            self.since
        } else {
            self.due.unwrap_or(now).max(self.not_before).max(now)
        };
        Some(start.after(load).since(now).max(ETA_MIN))
    }
}
