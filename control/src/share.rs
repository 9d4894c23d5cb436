//! One lane of several gateways: how they divide its limit, who moves the limit, and who wakes the backend.
//!
//! Owns [`SharedLane`], a value that the gateways keep in one place and step one after another: [`SharedLane::renew`] takes what
//! one gateway reports and returns its lease. Any store that applies such steps one at a time, and has one clock, is enough. What
//! a gateway does with its lease is in [`Controller`](crate::Controller); how long it believes in it, in [`Holder`].
//!
//! ```text
//! level   : the limit of all gateways together, as the leader has proved it
//! share   : min(divide(level, demands)[i], level - sum over the others of max(granted, in flight)), so a share grows only
//!           after others have returned theirs
//! leader  : the one gateway that tries a higher or a lower limit; its trial comes on top of its share
//! a cut   : any gateway may lower the level after refusals; the leader continues from there
//! wake    : while nobody is served, one gateway asks the backend, and the others hold their calls
//! fence   : the number of a turn as leader or of a wake, which grows; what an earlier holder reports late is ignored
//! ```
//!
//! A gateway that is silent for the time to live is forgotten. If nobody has renewed for that long, or the clock has jumped, the
//! state is not trusted: for one time to live nobody gets more than it already uses.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::num::calls;
use crate::{Snapshot, Timestamp};

mod divide;
mod holder;

pub use divide::divide;
pub use holder::Holder;

/// The time for which a leader keeps its turn though no calls of its own wait, while calls of another gateway do.
const LEADS_LEAST: Duration = Duration::from_secs(5);
/// The time after which the calls that do not divide evenly go to other gateways.
const ROTATES: Duration = Duration::from_secs(4);
/// The gateways of one lane; a further one gets no share and uses its local one.
const MEMBERS_MAX: usize = 256;

/// What one gateway reports when it renews its lease of a lane.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls that wait.
    pub queued: u32,
    /// Calls that it may have in flight now.
    pub holds: u32,
    /// The part of `holds` with which the leader tries a higher limit; 0 for all others.
    pub trial: u32,
    /// Its limit for all gateways, in calls, without the trial.
    pub level: f64,
    /// `true` if it lowered the level because of refusals.
    pub cut: bool,
    /// The number of cuts on which `level` is based.
    pub cuts: u64,
    /// Refusals since the last renewal.
    pub refused: u32,
    /// The fence of its turn as leader.
    pub lead: Option<u64>,
    /// `true` if the backend served it lately.
    pub serves: bool,
    /// `true` if calls wait for a backend that may be asleep.
    pub wants_wake: bool,
    /// The time until the backend is expected to serve; only from the gateway that wakes it.
    pub ready_in: Option<Duration>,
    /// What it has learned of the backend; only from the leader.
    pub learned: Option<Snapshot>,
}

/// Who wakes the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Wake {
    /// Nobody.
    #[default]
    Nobody,
    /// This gateway.
    Me {
        /// The number of the turn.
        fence: u64,
    },
    /// Another gateway.
    Other {
        /// The time until the backend is expected to serve, if that is known.
        ready_in: Option<Duration>,
    },
}

/// What one gateway may do until its next renewal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Calls that it may have in flight; the leader's trial comes on top.
    pub share: u32,
    /// The limit of all gateways, in calls; `None` while nobody knows one.
    pub level: Option<f64>,
    /// The number of cuts.
    pub cuts: u64,
    /// Calls of the other gateways in flight, when each of them last renewed.
    pub others: u32,
    /// Gateways that share the lane, including this one.
    pub members: u32,
    /// The fence of its turn as leader; `None` if another gateway leads, or none.
    pub lead: Option<u64>,
    /// Refusals of the other gateways since the leader's last renewal; 0 for all others.
    pub refused: u32,
    /// `true` if the backend served another gateway lately.
    pub serves: bool,
    /// Who wakes the backend.
    pub wake: Wake,
}

/// A turn as leader or as the one that wakes the backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Turn {
    holder: String,
    fence: u64,
    since: Timestamp,
    until: Timestamp,
}

/// One gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Member {
    until: Timestamp,
    granted: u32,
    in_flight: u32,
    trial: u32,
    queued: u32,
    serves: bool,
}

impl Member {
    /// Returns the calls that it may have in flight or still has.
    fn held(&self) -> u32 {
        self.granted.max(self.in_flight.saturating_sub(self.trial))
    }

    fn demand(&self) -> u32 {
        self.in_flight.saturating_add(self.queued)
    }
}

/// The state of one lane of several gateways.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharedLane {
    level: Option<f64>,
    cuts: u64,
    /// Refusals that the leader does not know of.
    refused: u32,
    lead: Option<Turn>,
    wake: Option<Turn>,
    ready_at: Option<Timestamp>,
    members: BTreeMap<String, Member>,
    learned: Snapshot,
    fence: u64,
    touched: Timestamp,
    settles_until: Timestamp,
}

impl SharedLane {
    /// Renews the lease of the gateway `who`, which is forgotten `ttl` after its last renewal. `now` is the time of the store.
    pub fn renew(&mut self, who: &str, renewal: &Renewal, ttl: Duration, now: Timestamp) -> Lease {
        self.forget(ttl, now);
        if !self.members.contains_key(who) && self.members.len() >= MEMBERS_MAX {
            return Lease::default();
        }
        let member = self.members.entry(who.to_owned()).or_default();
        member.until = now.after(ttl);
        member.in_flight = renewal.in_flight;
        member.queued = renewal.queued;
        member.serves = renewal.serves;
        self.take_lead(who, renewal, ttl, now);
        self.take_level(who, renewal);
        self.take_wake(who, renewal, ttl, now);
        let share = self.grant(who, renewal, now);
        let others = self.others(who);
        let in_flight = others.fold(0_u32, |sum, other| sum.saturating_add(other.in_flight));
        let lead = self.lead.as_ref().filter(|turn| turn.holder == who);
        let lead = lead.map(|turn| turn.fence);
        Lease {
            share,
            level: self.level,
            cuts: self.cuts,
            others: in_flight,
            members: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            lead,
            refused: if lead.is_some() {
                std::mem::take(&mut self.refused)
            } else {
                0
            },
            serves: self.others(who).any(|other| other.serves),
            wake: self.wake_of(who, now),
        }
    }

    /// Forgets the gateway `who`, which stops.
    pub fn leave(&mut self, who: &str) {
        self.members.remove(who);
        self.lead.take_if(|turn| turn.holder == who);
        self.wake.take_if(|turn| turn.holder == who);
    }

    /// Returns what was learned of the backend, for a gateway that knows nothing of it.
    pub fn learned(&self) -> &Snapshot {
        &self.learned
    }

    fn others<'a>(&'a self, who: &'a str) -> impl Iterator<Item = &'a Member> {
        let others = self.members.iter().filter(move |(name, _)| *name != who);
        others.map(|(_, member)| member)
    }

    /// Forgets who is silent. A time that the clock cannot have given is not trusted.
    fn forget(&mut self, ttl: Duration, now: Timestamp) {
        let longest = now.after(ttl);
        let silent = now.since(self.touched) > ttl;
        if silent || self.touched.since(now) > ttl {
            self.settles_until = longest;
        }
        self.touched = now;
        self.settles_until = self.settles_until.min(longest);
        for member in self.members.values_mut() {
            member.until = member.until.min(longest);
        }
        self.members.retain(|_, member| member.until > now);
        for turn in [&mut self.lead, &mut self.wake] {
            if let Some(turn) = turn {
                turn.until = turn.until.min(longest);
            }
            turn.take_if(|turn| turn.until <= now);
        }
    }

    fn turn(&mut self, holder: &str, ttl: Duration, now: Timestamp) -> Turn {
        // After a loss of the state the numbers still grow, as the clock does.
        self.fence = self.fence.saturating_add(1).max(now.as_nanos() / 1_000_000);
        Turn {
            holder: holder.to_owned(),
            fence: self.fence,
            since: now,
            until: now.after(ttl),
        }
    }

    fn take_lead(&mut self, who: &str, renewal: &Renewal, ttl: Duration, now: Timestamp) {
        let leads = |turn: &Turn| turn.holder == who;
        if let Some(turn) = self.lead.as_mut().filter(|turn| leads(turn)) {
            turn.until = now.after(ttl);
            let long_enough = now.since(turn.since) >= LEADS_LEAST;
            let next = (!renewal.serves || (renewal.queued == 0 && long_enough))
                .then(|| self.next_leader(who))
                .flatten();
            if let Some(next) = next {
                self.lead = Some(self.turn(&next, ttl, now));
            } else if !renewal.serves {
                self.lead = None;
            }
        }
        if self.lead.is_none() && renewal.serves {
            let alone = !self.others(who).any(|other| other.serves);
            let turn = self.turn(who, ttl, now);
            self.lead = Some(turn);
            if alone {
                // Nobody else knows better: after a cold start the search begins again.
                self.level = None;
            }
        }
    }

    /// Returns the gateway that has the most calls waiting; `None` if no calls of another one wait.
    fn next_leader(&self, who: &str) -> Option<String> {
        let others = self.members.iter().filter(|(name, member)| {
            *name != who && member.serves && member.queued > 0 && member.granted > 0
        });
        let most = others.max_by_key(|(_, member)| member.queued);
        most.map(|(name, _)| name.clone())
    }

    /// Takes the level from the leader, or from a gateway that lowered it.
    fn take_level(&mut self, who: &str, renewal: &Renewal) {
        let turn = self.lead.as_ref().filter(|turn| turn.holder == who);
        let leads = turn.is_some_and(|turn| renewal.lead == Some(turn.fence));
        if let Some(member) = self.members.get_mut(who) {
            member.trial = if leads { renewal.trial } else { 0 };
        }
        if turn.is_none() {
            self.refused = self.refused.saturating_add(renewal.refused);
        }
        if renewal.level.is_nan() || renewal.level < 1.0 {
            return;
        }
        let is_current = renewal.cuts == self.cuts;
        match self.level {
            None => self.level = Some(renewal.level),
            Some(_) if leads && is_current => self.level = Some(renewal.level),
            Some(level) if renewal.cut && is_current && renewal.level < level => {
                self.level = Some(renewal.level);
                self.cuts += 1;
                self.refused = 0;
            }
            Some(_) => {}
        }
        if let Some(learned) = renewal.learned.as_ref().filter(|_| leads) {
            self.learned = learned.clone();
        }
    }

    fn take_wake(&mut self, who: &str, renewal: &Renewal, ttl: Duration, now: Timestamp) {
        let awake = renewal.serves || self.others(who).any(|other| other.serves);
        let mine = self.wake.as_ref().is_some_and(|turn| turn.holder == who);
        if awake || (mine && !renewal.wants_wake) {
            self.wake = None;
            self.ready_at = None;
        }
        if awake || !renewal.wants_wake {
            return;
        }
        match &mut self.wake {
            Some(turn) if mine => {
                turn.until = now.after(ttl);
                self.ready_at = renewal.ready_in.map(|left| now.after(left));
            }
            Some(_) => {}
            None => {
                let turn = self.turn(who, ttl, now);
                self.wake = Some(turn);
            }
        }
    }

    fn wake_of(&self, who: &str, now: Timestamp) -> Wake {
        match &self.wake {
            None => Wake::Nobody,
            Some(turn) if turn.holder == who => Wake::Me { fence: turn.fence },
            Some(_) => Wake::Other {
                ready_in: self.ready_at.map(|at| at.since(now)),
            },
        }
    }

    /// Sets and returns the share of a gateway.
    fn grant(&mut self, who: &str, renewal: &Renewal, now: Timestamp) -> u32 {
        let level = calls(self.level.unwrap_or(1.0));
        let demands: Vec<u32> = self.members.values().map(Member::demand).collect();
        let turn = now.as_nanos() / u64::try_from(ROTATES.as_nanos()).unwrap_or(u64::MAX);
        let shares = divide(level, &demands, turn);
        let place = self.members.keys().position(|name| name == who);
        let fair = place.and_then(|place| shares.get(place)).copied();
        let others = self.others(who);
        let held = others.fold(0_u32, |sum, other| sum.saturating_add(other.held()));
        let room = level.saturating_sub(held);
        let mut share = fair.unwrap_or(0).min(room);
        if now < self.settles_until {
            share = share.min(renewal.holds.max(1));
        }
        if let Some(member) = self.members.get_mut(who) {
            member.granted = share;
        }
        share
    }
}

#[cfg(test)]
mod tests;
