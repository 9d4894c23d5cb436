//! A controller that shares its backend with other gateways: how its lease bounds the grant, and how it follows the leader.
//!
//! With a lease the limit is that of all gateways together, and the calls in flight that the law compares include those of the
//! others. The leader's law runs as without other gateways; what it tries beyond the proved level comes on top of its own share. A
//! follower's law only reacts to refusals.

use std::time::Duration;

use serde::Serialize;

use super::{Availability, Controller, Snapshot};
use crate::limit::{Sample, Signal};
use crate::num::calls;
use crate::share::{Lease, Renewal, Wake};
use crate::{LoadTimes, Permission, Timestamp, Verdict};

/// The refusals since the last renewal at which a follower lowers the limit itself, and the same while there is no leader. The leader's
/// trial causes some, and it hears of them.
const CUTS_AT: (u32, u32) = (5, 2);
/// The lowest part of the level to which one such cut goes: what others have in flight is known as of their last renewals.
const CUT_LEAST: f64 = 0.7;
/// The leases after which the leader, whose calls were accepted at the edge, tries more: so many may pass until it hears of a refusal.
const LEASES_PER_STEP: u32 = 2;
/// The time for which a lease keeps a gateway from asking a sleeping backend: the longest time to live of a lease.
const HELD: Duration = Duration::from_mins(1);
/// The lowest part of a rate that a gateway has, so that a rate never becomes zero.
const PART_LEAST: f64 = 0.02;

/// The lease of a controller, and what happened since it was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    pub(super) lease: Lease,
    /// When the lease came.
    at: Timestamp,
    /// Refusals that were not reported.
    refused: u32,
    /// `true` if the limit was lowered because of refusals and the lease does not know it.
    cut: bool,
    /// The leases since the leader last tried more at the edge.
    since_step: u32,
}

/// A lease in `/state`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ShareReport {
    /// The lease in force.
    #[serde(flatten)]
    pub lease: Lease,
    /// Milliseconds since the controller got it.
    pub age_ms: u64,
}

impl Shared {
    pub(super) fn leads(&self) -> bool {
        self.lease.lead.is_some()
    }

    /// Returns the part of the backend that this gateway has; at most 1.
    fn part(&self, level: f64) -> f64 {
        let share = f64::from(self.lease.share).max(0.5);
        (share / level.max(1.0)).clamp(PART_LEAST, 1.0)
    }

    pub(super) fn report(&self, now: Timestamp) -> ShareReport {
        ShareReport {
            lease: self.lease,
            age_ms: u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Controller {
    /// Takes a lease, or returns to serving alone.
    pub(super) fn take_lease(&mut self, lease: Option<Lease>, now: Timestamp) -> Option<Verdict> {
        let Some(lease) = lease else {
            self.shared = None;
            self.rate.set_part(None);
            return None;
        };
        let before = self.shared.replace(Shared {
            lease,
            at: now,
            refused: 0,
            cut: false,
            since_step: 0,
        });
        if let (Some(shared), Some(before)) = (&mut self.shared, before) {
            shared.since_step = before.since_step.saturating_add(1);
        }
        let proved = self.limit.proved().min(self.limit.limit());
        let level = lease.level.unwrap_or(proved);
        // The lease may have been given before this gateway's own cut was known.
        let outdated = before.is_some_and(|before| before.cut && before.lease.cuts == lease.cuts)
            && proved < level;
        if outdated && let Some(shared) = &mut self.shared {
            shared.cut = true;
        }
        if self.is_served_elsewhere(lease) {
            self.join(level, now);
        } else if matches!(self.availability, Availability::Running) && !outdated {
            let led = before.is_some_and(|before| before.leads());
            let cut_by_another = before.is_some_and(|before| before.lease.cuts != lease.cuts);
            let keeps = lease.lead.is_some() && led && !cut_by_another;
            if !keeps && (level - proved).abs() >= 1.0 {
                self.limit.follow(level);
            }
        }
        self.rate
            .set_part(self.shared.map(|shared| shared.part(level)));
        (lease.lead.is_some() && lease.refused > 0)
            .then(|| self.refused_elsewhere(now))
            .flatten()
    }

    /// Returns `true` if the backend serves another gateway while this one does not call it.
    fn is_served_elsewhere(&self, lease: Lease) -> bool {
        let away = matches!(
            self.availability,
            Availability::Idle | Availability::Cold(_)
        );
        away && lease.serves && self.flights.is_empty()
    }

    /// Serves at the level of the others.
    fn join(&mut self, level: f64, now: Timestamp) {
        self.limit.restart(Some(level), now);
        self.limit.follow(level);
        self.failures_in_row = 0;
        self.loading_in_row = 0;
        self.ready_since = now;
        self.last_activity = now;
        self.availability = Availability::Running;
    }

    /// Tells the leader's law that other gateways were refused.
    fn refused_elsewhere(&mut self, now: Timestamp) -> Option<Verdict> {
        if !matches!(self.availability, Availability::Running) {
            return None;
        }
        let in_flight = calls(self.limit.limit());
        let sample = Sample {
            signal: Signal::Refused,
            in_flight,
            in_flight_end: in_flight,
            sent: now,
            latency: Duration::ZERO,
            log_latency: None,
            binding: true,
            acknowledged: false,
        };
        self.limit.sample(&sample, now)
    }

    /// Returns the calls of other gateways in flight.
    pub(super) fn others(&self) -> u32 {
        self.shared.map_or(0, |shared| shared.lease.others)
    }

    /// Returns `true` if another gateway moves the limit.
    pub(super) fn follows(&self) -> bool {
        self.shared.is_some_and(|shared| !shared.leads())
    }

    /// Returns `true` if the law may try more at the edge now. Other gateways may be refused in place of the leader, which hears of it
    /// by a lease.
    pub(super) fn may_step(&self) -> bool {
        self.shared.is_none_or(|shared| {
            shared.leads() && (shared.lease.members < 2 || shared.since_step >= LEASES_PER_STEP)
        })
    }

    /// Notes that the law has tried more at the edge.
    pub(super) fn stepped(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.since_step = 0;
        }
    }

    /// Handles a sample of a follower. Some refusals come from the leader's trial, so only many lower the limit.
    pub(super) fn followed(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        let shared = self.shared.as_mut()?;
        if sample.signal != Signal::Refused {
            return None;
        }
        shared.refused += 1;
        // A lease that is over has no fence: nobody leads.
        let alone = shared.lease.wake == Wake::Me { fence: 0 };
        let at = if alone { CUTS_AT.1 } else { CUTS_AT.0 };
        if shared.refused < at {
            return None;
        }
        let least = CUT_LEAST * shared.lease.level.unwrap_or(0.0);
        let before = self.limit.proved();
        let verdict = self.limit.sample(sample, now);
        if self.limit.proved() < least {
            self.limit.follow(least.ceil());
        }
        if self.limit.proved() < before
            && let Some(shared) = &mut self.shared
        {
            shared.cut = true;
            self.wants_lease = true;
        }
        verdict
    }

    /// Returns the calls that may be in flight here: the share, the leader's trial, and less after a cut that the lease does not
    /// know.
    pub(super) fn concurrency(&self) -> u32 {
        let limit = self.limit.limit();
        let Some(shared) = self.shared else {
            return calls(limit);
        };
        let share = shared.lease.share;
        let level = shared.lease.level.unwrap_or(limit);
        if limit >= level {
            let trial = if shared.leads() && limit >= level + 1.0 {
                calls(limit - level)
            } else {
                0
            };
            return share.saturating_add(trial);
        }
        if share == 0 {
            return 0;
        }
        calls(f64::from(share) * limit / level)
    }

    /// Returns the calls in flight here above which a further one tests a higher load.
    pub(super) fn trial_above(&self) -> Option<u32> {
        let proved = self.limit.trial_above().map(calls)?;
        match self.shared {
            None => Some(proved),
            Some(shared) if shared.leads() => Some(shared.lease.share.min(proved)),
            Some(_) => None,
        }
    }

    /// Returns the part of the backend's throughput that this gateway has.
    pub(super) fn part(&self) -> f64 {
        let level = self.limit.limit();
        self.shared.map_or(1.0, |shared| shared.part(level))
    }

    /// Returns `true` if the backend may be asked by this gateway, and until when not otherwise.
    pub(super) fn wake_permission(&self, permission: Permission) -> Permission {
        let Some(shared) = self.shared else {
            return permission;
        };
        let away = matches!(
            self.availability,
            Availability::Idle | Availability::Cold(_)
        );
        match (permission, shared.lease.wake) {
            (Permission::SingleFlight { .. }, Wake::Nobody | Wake::Other { .. }) if away => {
                // Each renewal moves it on. Without renewals the lease is over before.
                let not_before = shared.at.after(HELD);
                Permission::SingleFlight { not_before }
            }
            _ => permission,
        }
    }

    /// Returns when the gateway that wakes the backend expects it to serve.
    pub(super) fn ready_elsewhere(&self) -> Option<Timestamp> {
        let shared = self.shared?;
        match shared.lease.wake {
            Wake::Other { ready_in } => ready_in.map(|left| shared.at.after(left)),
            Wake::Nobody | Wake::Me { .. } => None,
        }
    }

    /// Returns `true` if calls of other gateways keep the backend awake.
    pub(super) fn kept_awake(&self) -> bool {
        self.shared.is_some_and(|shared| shared.lease.serves)
    }

    /// Returns `true` if another gateway wakes the backend.
    pub(super) fn wakes_elsewhere(&self) -> bool {
        let wake = self.shared.map(|shared| shared.lease.wake);
        matches!(wake, Some(Wake::Other { .. }))
    }

    /// Returns `true`, once, if the lease should be renewed at once.
    pub(super) fn take_lease_wish(&mut self, now: Timestamp) -> bool {
        let away = matches!(
            self.availability,
            Availability::Idle | Availability::Cold(_)
        );
        let waits = self.shared.is_some_and(|shared| {
            let unknown = shared.lease.wake == Wake::Nobody && !shared.lease.serves;
            away && unknown && self.queued > 0 && self.asked_wake < shared.at
        });
        if waits {
            self.asked_wake = now;
        }
        std::mem::take(&mut self.wants_lease) || waits
    }

    /// Returns what this gateway reports at a renewal of its lease, and forgets the refusals that it contains.
    pub fn renewal(&mut self, now: Timestamp) -> Renewal {
        let limit = self.limit.limit();
        let level = self.limit.proved().min(limit);
        let lease = self.shared.map(|shared| shared.lease);
        let running = matches!(self.availability, Availability::Running);
        let away = matches!(
            self.availability,
            Availability::Idle | Availability::Cold(_)
        );
        let leads = lease.is_some_and(|lease| lease.lead.is_some());
        let holds = self.concurrency();
        Renewal {
            in_flight: u32::try_from(self.flights.len()).unwrap_or(u32::MAX),
            queued: self.queued,
            holds,
            trial: if leads && limit > level {
                calls(limit - level)
            } else {
                0
            },
            level,
            cut: self.shared.is_some_and(|shared| shared.cut),
            cuts: lease.map_or(0, |lease| lease.cuts),
            refused: self
                .shared
                .as_mut()
                .map_or(0, |shared| std::mem::take(&mut shared.refused)),
            lead: lease.and_then(|lease| lease.lead),
            serves: running
                && self.last_served > Timestamp::ZERO
                && now.since(self.last_served) < self.settings.idle,
            wants_wake: away && (self.queued > 0 || !self.flights.is_empty()),
            ready_in: self.ready_eta(now).map(|at| at.since(now)),
            learned: (leads || lease.is_none()).then(|| Snapshot {
                momentary: None,
                ..self.snapshot(now)
            }),
        }
    }

    /// Takes from other gateways what this one has not learned itself.
    pub fn adopt(&mut self, learned: &Snapshot) {
        if self.load_times == LoadTimes::default() {
            self.load_times = learned.load_times.clone();
        }
        if self.memory.is_none() {
            self.memory = learned.limit;
        }
        if self.answers == 0 && self.rate.measured().is_none() && learned.request_rate.is_some() {
            self.rate.remember(learned.request_rate, None);
        }
    }
}
