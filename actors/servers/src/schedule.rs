//! Decides which servers are loaded: a state machine without clock and I/O.
//!
//! Servers share devices, each with a budget of memory and slots. A server is started when a call waits for it. If there is no
//! room, a loaded server makes room as soon as it has had no call for a moment, or a call has waited for the longest wait; in
//! both cases it was loaded for its least time. It gets no new calls then, and is stopped when its last call has ended. Thereby
//! the calls of one server are served together, each server has its turn, and no call is cut off.
//!
//! A server that could not be started is started again after a backoff, and takes only room that no other call needs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kebne_control::{LoadTimes, Timestamp};

use crate::room::Room;

mod entry;
mod plan;

use entry::{Entry, Standing};
pub use entry::{Phase, Terms};

/// The time without a call after which a loaded server may make room for another: longer than the gap between two calls of a
/// queue, and short beside a load.
pub const LINGER: Duration = Duration::from_millis(500);
/// The time for which a server stays wanted after its last waiting call has left: longer than the longest pause between two
/// probes of a lane, so that the calls of a lane keep their turn.
pub const WANTED_FOR: Duration = Duration::from_secs(5);
/// The waits before a server that failed is started again; doubled by each failure.
pub const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// The time loaded after which an end counts as the first failure.
const PROVED: Duration = Duration::from_mins(1);

/// The number of a server. A number is not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call waits for the server.
    Wanted(ServerId),
    /// No call waits for it any more.
    Unwanted(ServerId),
    /// Its last call has ended, for now.
    Used(ServerId),
    /// A server that was started serves.
    Ready(ServerId),
    /// The last call of a closed server has ended.
    Drained(ServerId),
    /// Nothing is left of the server; it failed unless it was to stop.
    Ended(ServerId),
    /// An operator wants it loaded.
    Load(ServerId),
    /// An operator wants it stopped when its last call has ended. It is started again when a call waits for it.
    Unload(ServerId),
    /// It is gone from the settings.
    Remove(ServerId),
    /// The time of `next_wakeup` has come.
    Tick,
}

/// The calls of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// `true` if a call is running.
    pub busy: bool,
    /// `true` if a call waits.
    pub waiting: bool,
    /// When the last call began or ended.
    pub last_used: Timestamp,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the server.
    Start(ServerId),
    /// Let no more calls in, and report when the last one has ended.
    Close(ServerId),
    /// Let calls in again.
    Open(ServerId),
    /// Stop the server.
    Stop(ServerId),
    /// Forget the server.
    Forget(ServerId),
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Schedule {
    devices: BTreeMap<String, Room>,
    servers: BTreeMap<ServerId, Entry>,
}

/// When a server that fails is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It is being started.
    Now,
    /// Not before this time has passed; then as soon as a call waits for it.
    In(Duration),
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub struct View {
    /// The phase.
    pub phase: Phase,
    /// The time since the phase began.
    pub age: Duration,
    /// The loads that succeeded.
    pub loads: u64,
    /// The stops that made room for another server.
    pub swaps: u64,
    /// The starts that failed, and the ends without a request.
    pub failures: u64,
    /// The failures in a row.
    pub failures_in_row: u32,
    /// `true` if its last start failed.
    pub is_failing: bool,
    /// Set if its last start failed, or if it failed several times in a row.
    pub failing: Option<Again>,
    /// The time for which calls have been waiting.
    pub waiting: Option<Duration>,
    /// The time after which it is expected to serve; `None` if it is not known.
    pub eta: Option<Duration>,
}

impl Schedule {
    /// Sets the budgets of devices. A device that is not named has no bound.
    pub fn set_devices(&mut self, devices: BTreeMap<String, Room>, now: Timestamp) -> Vec<Effect> {
        self.devices = devices;
        self.step(Event::Tick, now)
    }

    /// Adds a server that is not running. `load_times` is what an earlier process has learned.
    pub fn add(
        &mut self,
        server: ServerId,
        terms: Terms,
        load_times: LoadTimes,
        now: Timestamp,
    ) -> Vec<Effect> {
        self.servers
            .insert(server, Entry::new(terms, load_times, now));
        self.step(Event::Tick, now)
    }

    /// Handles one event, in O(n log n) for n servers.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.note(event, now, &mut effects);
        for entry in self.servers.values_mut() {
            entry.forget_old_wish(now);
        }
        self.plan(now, &mut effects);
        self.stop_idle(now, &mut effects);
        effects
    }

    /// Notes the calls of a server, as they are now. Called before each step.
    pub fn observe(&mut self, server: ServerId, usage: Usage, now: Timestamp) {
        if let Some(entry) = self.servers.get_mut(&server) {
            entry.busy = usage.busy;
            entry.last_used = entry.last_used.max(usage.last_used);
            if usage.waiting && entry.phase != Phase::Ready {
                entry.want(now);
            }
        }
    }

    fn note(&mut self, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
        let (Event::Wanted(server)
        | Event::Unwanted(server)
        | Event::Used(server)
        | Event::Ready(server)
        | Event::Drained(server)
        | Event::Ended(server)
        | Event::Load(server)
        | Event::Unload(server)
        | Event::Remove(server)) = event
        else {
            return;
        };
        let Some(entry) = self.servers.get_mut(&server) else {
            return;
        };
        match event {
            Event::Wanted(_) => entry.want(now),
            Event::Unwanted(_) => entry.unwant(now),
            Event::Ready(_) => entry.ready(now),
            Event::Drained(_) if entry.phase == Phase::Closing => {
                entry.enter(Phase::Stopping, now);
                effects.push(Effect::Stop(server));
            }
            Event::Ended(_) => {
                entry.ended(now);
                if entry.standing == Standing::Removed {
                    self.servers.remove(&server);
                    effects.push(Effect::Forget(server));
                }
            }
            Event::Load(_) => entry.load(now),
            Event::Unload(_) => entry.unload(server, now, effects),
            Event::Remove(_) => {
                entry.standing = Standing::Removed;
                if entry.phase == Phase::Stopped {
                    self.servers.remove(&server);
                    effects.push(Effect::Forget(server));
                } else {
                    entry.leave(server, now, effects);
                }
            }
            Event::Used(_) | Event::Drained(_) | Event::Tick => {}
        }
    }

    /// Notes that a server has fallen asleep by itself: its end is not a failure.
    pub fn fell_asleep(&mut self, server: ServerId, now: Timestamp) {
        if let Some(entry) = self.servers.get_mut(&server) {
            entry.enter(Phase::Stopping, now);
        }
    }

    /// Returns when `Tick` is due.
    pub fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.servers.values().flat_map(Entry::wakeups);
        times.filter(|at| *at > now).min()
    }

    /// Returns what is known of a server.
    pub fn view(&self, server: ServerId, now: Timestamp) -> Option<View> {
        let entry = self.servers.get(&server)?;
        Some(entry.view(now))
    }

    /// Returns the load times of a server.
    pub fn load_times(&self, server: ServerId) -> Option<&LoadTimes> {
        self.servers.get(&server).map(|entry| &entry.load_times)
    }

    /// Returns `true` if nothing is left of any server.
    pub fn is_stopped(&self) -> bool {
        let mut servers = self.servers.values();
        servers.all(|entry| entry.phase == Phase::Stopped)
    }

    /// Returns the budget of a device.
    fn capacity(&self, device: &str) -> Room {
        let known = self.devices.get(device).copied();
        known.unwrap_or(Room::UNLIMITED)
    }

    /// Returns the names of the devices that servers use.
    fn used_devices(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self
            .servers
            .values()
            .map(|entry| Arc::clone(&entry.terms.device))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests;
