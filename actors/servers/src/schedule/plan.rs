//! Which servers start, and which make room for them.

use kebne_control::Timestamp;

use super::{
    Effect, LINGER, Phase, Schedule, ServerId,
    entry::{Entry, Standing},
};
use crate::room::Room;

/// Why a server is to start, the most important reason first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Calls wait for it.
    Called,
    /// Calls wait for it, and its last start failed.
    Failing,
    /// It is kept warm.
    Warm,
}

impl Schedule {
    pub(super) fn plan(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for entry in self.servers.values_mut() {
            entry.due = None;
        }
        self.reopen(now, effects);
        for device in self.used_devices() {
            for (rank, server) in self.candidates(&device, now) {
                let started = self.try_start(server, rank, now, effects);
                if !started && rank == Rank::Called {
                    // What becomes free belongs to this one.
                    break;
                }
            }
        }
    }

    /// Stops the servers that had no call for their idle timeout.
    pub(super) fn stop_idle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for (server, entry) in &mut self.servers {
            if entry.idle_end().is_some_and(|end| end <= now) {
                entry.leave(*server, now, effects);
            }
        }
    }

    /// Reopens the servers that were being emptied for another one that nobody wants any more.
    fn reopen(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let wanted: Vec<ServerId> = self
            .servers
            .iter()
            .filter(|(_, entry)| entry.wanted_since.is_some())
            .map(|(server, _)| *server)
            .collect();
        for (server, entry) in &mut self.servers {
            let needless = entry
                .makes_room_for
                .is_some_and(|other| !wanted.contains(&other));
            let is_in_use = entry.standing == Standing::InUse;
            if entry.phase == Phase::Closing && needless && is_in_use {
                entry.makes_room_for = None;
                entry.enter(Phase::Ready, now);
                effects.push(Effect::Open(*server));
            }
        }
    }

    /// Returns the servers of a device that are to be started, the first one first.
    fn candidates(&self, device: &str, now: Timestamp) -> Vec<(Rank, ServerId)> {
        let mut candidates: Vec<_> = self
            .servers
            .iter()
            .filter(|(_, entry)| {
                entry.phase == Phase::Stopped
                    && *entry.terms.device == *device
                    && entry.standing != Standing::Removed
                    && entry.not_before <= now
                    && entry.terms.room.fits(self.capacity(device))
                    && !self.is_running(&entry.terms.name)
            })
            .filter_map(|(server, entry)| {
                let rank = match entry.wanted_since {
                    Some(_) if entry.is_failing() => Rank::Failing,
                    Some(_) => Rank::Called,
                    None if entry.is_kept_warm() => Rank::Warm,
                    None => return None,
                };
                Some((rank, entry.wanted_since, *server))
            })
            .collect();
        candidates.sort_unstable();
        let candidates = candidates.into_iter();
        candidates.map(|(rank, _, server)| (rank, server)).collect()
    }

    /// Returns `true` if a server of this name takes room.
    fn is_running(&self, name: &str) -> bool {
        let mut servers = self.servers.values();
        servers.any(|entry| *entry.terms.name == *name && entry.takes_room())
    }

    /// Starts a server if there is room, or has others make room for it. Returns `true` if it was started.
    fn try_start(
        &mut self,
        server: ServerId,
        rank: Rank,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(entry) = self.servers.get(&server) else {
            return false;
        };
        let (device, need) = (entry.terms.device.clone(), entry.terms.room);
        let free = self
            .capacity(&device)
            .minus(self.sum(&device, Entry::takes_room));
        if need.fits(free) {
            if let Some(entry) = self.servers.get_mut(&server) {
                entry.enter(Phase::Starting, now);
                effects.push(Effect::Start(server));
            }
            return true;
        }
        let leaving = |entry: &Entry| matches!(entry.phase, Phase::Closing | Phase::Stopping);
        let coming = free.plus(self.sum(&device, leaving));
        if rank == Rank::Warm || need.fits(coming) {
            return false;
        }
        match self.victims(server, rank, coming, now) {
            Ok(victims) => {
                for victim in victims {
                    self.make_room(victim, server, now, effects);
                }
            }
            Err(due) => {
                if let Some(entry) = self.servers.get_mut(&server) {
                    entry.due = due;
                }
            }
        }
        false
    }

    fn make_room(
        &mut self,
        victim: ServerId,
        server: ServerId,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(entry) = self.servers.get_mut(&victim) {
            entry.swaps += 1;
            entry.makes_room_for = Some(server);
            entry.leave(victim, now, effects);
        }
    }

    /// Returns the room that the servers of a device with a property take.
    fn sum(&self, device: &str, property: impl Fn(&Entry) -> bool) -> Room {
        let servers = self.servers.values();
        let taking = servers.filter(|entry| *entry.terms.device == *device && property(entry));
        taking.fold(Room::NONE, |sum, entry| sum.plus(entry.terms.room))
    }

    /// Returns the servers that make room, or when to look again.
    fn victims(
        &self,
        server: ServerId,
        rank: Rank,
        mut free: Room,
        now: Timestamp,
    ) -> Result<Vec<ServerId>, Option<Timestamp>> {
        let Some(candidate) = self.servers.get(&server) else {
            return Err(None);
        };
        // A server that fails takes room only from those that nobody uses.
        let overdue_at = candidate
            .wanted_since
            .filter(|_| rank == Rank::Called)
            .map(|since| since.after(candidate.terms.wait_max));
        let mut others: Vec<_> = self
            .servers
            .iter()
            .filter(|(id, other)| **id != server && other.terms.device == candidate.terms.device)
            .collect();
        others.sort_by_key(|(_, other)| {
            let is_ready = other.phase == Phase::Ready;
            (
                is_ready,
                other.is_kept_warm(),
                other.busy,
                other.last_used(),
            )
        });
        // One that fails again and again must not cost others their loads.
        let linger = match rank {
            Rank::Failing => LINGER.max(candidate.backoff()),
            Rank::Called | Rank::Warm => LINGER,
        };
        let mut victims = Vec::new();
        let mut due: Option<Timestamp> = None;
        for (id, other) in others {
            match other.may_make_room(overdue_at, linger, now) {
                Ok(()) => {
                    free = free.plus(other.terms.room);
                    victims.push(*id);
                    if candidate.terms.room.fits(free) {
                        return Ok(victims);
                    }
                }
                Err(at) => due = due.into_iter().chain(at).min(),
            }
        }
        Err(due)
    }
}
