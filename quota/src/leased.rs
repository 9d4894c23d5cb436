//! The part of a shared account that one gateway holds: its block, what it has used of it, and what it wants next.
//!
//! A call is admitted if its estimate fits into the block. While the store cannot be asked, it is admitted if it fits into a fair part of what
//! was last known ([`Fair`]).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Amount, Ask, Day, Estimate, Grant, Kind, Limits, Sums, Units, bucket::Bucket, fair::Fair,
    units::whole,
};

/// The time whose demand a block covers, in milliseconds.
const COVERS: i64 = 1000;
/// The time after which an account that nobody uses gives its block back, in milliseconds.
const IDLE: u64 = 10_000;
/// The time for which what a grant left free is believed, in milliseconds: calls beyond it are refused without another request.
const BELIEVED: u64 = 300;
/// The time of which the demand is learned, in milliseconds: about that between two renewals.
const LEARNS: u64 = 200;
/// The interval at which an account is asked for that has used nothing, as a part of the lease.
const RENEWALS: u64 = 3;
/// The interval at which an account without limits is reported, in milliseconds.
const REPORT: u64 = 1000;

/// What a lease of the gateway is like in all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The time to live of a lease, in milliseconds.
    pub ttl: u64,
}

/// How a call is admitted that does not fit into the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// The store is asked for more, unless it was just known to have nothing.
    Ask,
    /// It is refused: the store was asked for it, and has nothing more.
    Refuse,
    /// It may use the block and a fair part of what was last known to be free: the store does not answer.
    FairPart,
    /// It may use a fair part of the limits: the lease is over.
    FairPartOfAll,
}

/// A report that was not acknowledged.
#[derive(Clone, Debug, Default)]
struct Pending {
    used: Vec<(Day, Amount)>,
    spent: Units,
    /// What was wanted at least, in the last attempt.
    needs: Units,
}

/// What a call lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The block is too small; the store may have more.
    Block,
    /// The limit of a kind has no room.
    Limit(Kind),
}

/// The state of one account at one gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leased {
    acked: u64,
    fence: u64,
    holds: Units,
    /// What the block has lost since the last report.
    spent: Units,
    /// What was used since the last report.
    used: BTreeMap<Day, Amount>,
    pending: Option<Pending>,
    /// What calls reserved since the last request, and of one call the most.
    taken: Units,
    largest: Units,
    /// The demand for [`COVERS`].
    flow: Units,
    /// The most calls at once since the last request, and before it.
    peak: (u32, u32),
    /// What calls need that could not be admitted, and one of them at most.
    needs: Units,
    call: Units,
    /// When a call came, the demand was learned, the store was asked and it answered; 0 for never.
    called_at: u64,
    learned_at: u64,
    asked_at: u64,
    granted_at: u64,
    /// What no gateway held at the grant; nothing of a kind of which the store did not grant what was needed.
    free: Units,
    /// What was left in the buckets at the grant.
    level: Units,
    gateways: u32,
    sums: Sums,
    /// `true` if the sums are wanted: other gateways may have used the account.
    is_wanted: bool,
    fair: Option<Fair>,
}

/// What the account knows beside its block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) requests: Option<Bucket>,
    pub(crate) tokens: Option<Bucket>,
    /// What running calls have reserved.
    pub(crate) busy: Units,
    pub(crate) today: Amount,
    pub(crate) month: Amount,
}

impl Known<'_> {
    fn bucket(&self, kind: Kind) -> Option<&Bucket> {
        match kind {
            Kind::Requests => self.requests.as_ref(),
            Kind::TokensPerMinute => self.tokens.as_ref(),
            _ => None,
        }
    }

    /// Returns what a call needs of a kind. Of a limit per minute it is a full bucket at most.
    fn needs(&self, kind: Kind, call: &Units) -> i64 {
        let most = self.bucket(kind).map_or(i64::MAX, Bucket::whole_limit);
        call.get(kind).min(most)
    }
}

impl Leased {
    /// Returns what calls can still use of the block.
    pub(crate) fn room(&self, kind: Kind, busy: &Units) -> i64 {
        let rest = self.holds.get(kind).saturating_sub(self.spent.get(kind));
        rest.saturating_sub(busy.get(kind))
    }

    /// Returns what is left of what no gateway holds. Of what has come back since the grant it is the part of one gateway.
    fn free(&self, kind: Kind, known: &Known<'_>) -> i64 {
        let free = self.free.get(kind);
        let Some(bucket) = known.bucket(kind) else {
            return free.max(0);
        };
        let back = bucket
            .whole_units()
            .saturating_sub(self.level.get(kind))
            .max(0);
        free.saturating_add(back / i64::from(self.gateways.max(1)))
            .max(0)
    }

    /// Returns what a call lacks; `None` if it can be admitted. A block that is too small is wanted larger.
    pub(crate) fn lacks(
        &mut self,
        estimate: &Estimate,
        known: &Known<'_>,
        beyond: Beyond,
        now: u64,
    ) -> Option<Lack> {
        let call = Units::of_call(estimate);
        match beyond {
            Beyond::Ask | Beyond::Refuse => {}
            Beyond::FairPart => self.fair_part(known, false, now),
            Beyond::FairPartOfAll => self.fair_part(known, true, now),
        }
        let mut short = false;
        for kind in Kind::ALL {
            let is_free = estimate.is_nothing() && !matches!(kind, Kind::Requests | Kind::AtOnce);
            if is_free || !kind.is_limited(known.limits) {
                continue;
            }
            let needed = known.needs(kind, &call);
            if let Some(fair) = &self.fair {
                if !fair.has(kind, needed, known.busy.get(Kind::AtOnce)) {
                    return Some(Lack::Limit(kind));
                }
                continue;
            }
            let room = self.room(kind, &known.busy);
            if needed <= room {
                continue;
            }
            let all = room.saturating_add(self.free(kind, known));
            let age = now.saturating_sub(self.granted_at);
            let is_known = beyond == Beyond::Refuse || age < BELIEVED && self.granted_at > 0;
            if is_known && needed > all {
                self.want(&call, now);
                return Some(Lack::Limit(kind));
            }
            short = true;
        }
        if short {
            self.want(&call, now);
        }
        short.then_some(Lack::Block)
    }

    /// Notes what a call needs that could not be admitted.
    fn want(&mut self, call: &Units, now: u64) {
        self.needs = self.needs.plus(*call);
        self.call = self.call.max(*call);
        self.largest = self.largest.max(*call);
        self.called_at = now;
    }

    /// Begins to use a fair part of what was last known, with what is left of the block.
    fn fair_part(&mut self, known: &Known<'_>, is_over: bool, now: u64) {
        let gateways = self.gateways.max(1);
        if let Some(fair) = &mut self.fair {
            if is_over {
                fair.share_at_once(known.limits, gateways);
            }
            return;
        }
        let mut own = Units::default();
        let mut free = Units::default();
        for kind in Kind::ALL {
            own.set(kind, self.room(kind, &known.busy).max(0));
            let free_now = if self.granted_at == 0 && !kind.is_rate() {
                known.limits.left_of_budgets(kind, known.today, known.month)
            } else {
                self.free(kind, known)
            };
            free.set(kind, free_now);
        }
        own.set(Kind::AtOnce, self.holds.get(Kind::AtOnce));
        let buckets = [known.requests, known.tokens];
        let mut fair = Fair::new(buckets, own, free, gateways, now);
        if is_over || self.is_unknown() {
            fair.share_at_once(known.limits, gateways);
        }
        self.fair = Some(fair);
    }

    /// Returns `true` before the first grant.
    pub(crate) fn is_unknown(&self) -> bool {
        self.gateways == 0
    }

    /// Returns `true` while a fair part is used.
    pub(crate) fn is_fair(&self) -> bool {
        self.fair.is_some()
    }

    /// Refills a fair part of limits per minute.
    pub(crate) fn refill(&mut self, now: u64) {
        if let Some(fair) = &mut self.fair {
            fair.refill(now);
        }
    }

    /// Begins a day, of which this has been used: a fair part of budgets is that of what they now have.
    pub(crate) fn begin_day(&mut self, limits: &Limits, today: Amount, month: Amount) {
        let gateways = i64::from(self.gateways.max(1));
        // What the store left free was that of another day.
        self.granted_at = 0;
        if let Some(fair) = &mut self.fair {
            for kind in [Kind::Tokens, Kind::Money] {
                fair.allow(kind, limits.left_of_budgets(kind, today, month) / gateways);
            }
        }
    }

    /// Returns the time after which a limit per minute has room for a call.
    pub(crate) fn wait_for(
        &self,
        kind: Kind,
        estimate: &Estimate,
        known: &Known<'_>,
    ) -> Option<Duration> {
        let bucket = known.bucket(kind)?;
        let needed = known.needs(kind, &Units::of_call(estimate));
        let wait = if let Some(fair) = &self.fair {
            fair.wait_for(kind, needed)
        } else {
            let missing = needed.saturating_sub(self.room(kind, &known.busy).max(0));
            bucket.wait_for(missing.max(0).unsigned_abs())
        };
        Some(wait.unwrap_or_default())
    }

    /// Takes what a call has reserved.
    pub(crate) fn reserve(&mut self, estimate: &Estimate, running: u32, now: u64) {
        let call = Units::of_call(estimate);
        self.taken = self.taken.plus(call);
        self.largest = self.largest.max(call);
        self.peak.0 = self.peak.0.max(running);
        self.called_at = now;
        self.take(Kind::Requests, 1);
        self.take(Kind::TokensPerMinute, call.get(Kind::TokensPerMinute));
        if let Some(fair) = &mut self.fair {
            fair.take(Kind::Tokens, call.get(Kind::Tokens));
            fair.take(Kind::Money, call.get(Kind::Money));
        }
    }

    /// Replaces what a call has reserved by what it has used; without an estimate it had reserved nothing.
    pub(crate) fn settle(&mut self, estimate: &Estimate, used: Amount, day: Day) {
        let (reserved, spent) = (Units::of_call(estimate), Units::of_used(used));
        let beyond = spent.minus(reserved);
        self.take(Kind::TokensPerMinute, beyond.get(Kind::Tokens));
        for kind in [Kind::Tokens, Kind::Money] {
            self.spent.add(kind, spent.get(kind));
            if let Some(fair) = &mut self.fair {
                fair.take(kind, beyond.get(kind));
            }
        }
        let sum = self.used.entry(day).or_default();
        *sum = sum.plus(used);
    }

    /// Takes units of a limit per minute; gives them back if they are negative.
    fn take(&mut self, kind: Kind, units: i64) {
        match &mut self.fair {
            Some(fair) => fair.take(kind, units),
            None => self.spent.add(kind, units),
        }
    }

    /// Returns `true` if the store should be asked now.
    pub(crate) fn is_due(&self, known: &Known<'_>, terms: Terms, now: u64) -> bool {
        if !self.needs.is_zero() || self.pending.is_some() || self.is_wanted {
            return true;
        }
        let age = now.abs_diff(self.asked_at);
        let is_limited = Kind::ALL.iter().any(|kind| kind.is_limited(known.limits));
        if !is_limited {
            return !self.used.is_empty() && age >= REPORT;
        }
        let has_news = !self.used.is_empty() || !self.spent.is_zero();
        has_news || !self.taken.is_zero() || age >= terms.ttl / RENEWALS
    }

    /// Returns `true` if there is nothing to report and nothing to give back.
    pub(crate) fn is_settled(&self) -> bool {
        self.used.is_empty()
            && self.pending.is_none()
            && self.needs.is_zero()
            && self.spent.is_zero()
            && self.holds.is_zero()
            && self.fair.is_none()
            && !self.is_wanted
    }

    /// Has the store asked at the next round if it was not asked for `age` milliseconds.
    pub(crate) fn refresh(&mut self, age: u64, now: u64) -> bool {
        self.is_wanted |= now.abs_diff(self.asked_at) >= age;
        self.is_wanted
    }

    /// Returns the next request. The report in it is the same until it is acknowledged. From here on the block is not more than
    /// what is wanted, because the store may give the rest to others.
    pub(crate) fn ask(&mut self, known: &Known<'_>, leaves: bool, now: u64) -> Ask {
        let mut busy = known.busy;
        if self.pending.is_some() {
            // It is in none of the reports yet.
            busy = busy.plus(self.spent.max(Units::default()));
        }
        let is_idle = now.saturating_sub(self.called_at) >= IDLE && known.busy.is_zero();
        let leaves = leaves || is_idle && self.needs.is_zero();
        self.estimate_flow(known, now);
        let wants = if leaves {
            busy
        } else {
            self.wants(busy, known)
        };
        let needs = std::mem::take(&mut self.needs);
        let call = std::mem::take(&mut self.call);
        if self.pending.is_none() {
            let spent = std::mem::take(&mut self.spent);
            self.holds = self.holds.minus(spent);
            self.pending = Some(Pending {
                used: std::mem::take(&mut self.used).into_iter().collect(),
                spent,
                needs: Units::default(),
            });
        }
        let needs = capped(needs, known);
        if let Some(pending) = &mut self.pending {
            pending.needs = busy.plus(needs);
        }
        self.holds = self.holds.min(wants);
        self.asked_at = now;
        self.is_wanted = false;
        let pending = self.pending.clone().unwrap_or_default();
        Ask {
            sequence: self.acked.saturating_add(1),
            acked: self.acked,
            fence: self.fence,
            used: pending.used,
            spent: pending.spent,
            busy,
            needs,
            call: capped(call, known),
            wants,
            leaves,
            known: self.sums,
            limits: known.limits.clone(),
        }
    }

    /// Learns the demand of the time since it was learned last. Of a shorter time only a rise is learned, so that a burst of requests
    /// does not look like calm.
    fn estimate_flow(&mut self, known: &Known<'_>, now: u64) {
        let elapsed = now.saturating_sub(self.learned_at).clamp(LEARNS, 60_000);
        let is_short = now.saturating_sub(self.learned_at) < LEARNS;
        self.peak.1 = self.peak.1.max(self.peak.0);
        for kind in Kind::ALL {
            let flow = self.taken.get(kind).saturating_mul(COVERS) / whole(elapsed);
            let mut kept = self.flow.get(kind);
            if !is_short {
                // It follows a rise at once and a fall slowly.
                kept = kept.saturating_mul(7) / 10 + flow.saturating_mul(3) / 10;
                let largest = self.largest.get(kind);
                self.largest.set(kind, largest.saturating_sub(largest / 8));
            }
            self.flow.set(kind, flow.max(kept));
        }
        if is_short {
            return;
        }
        self.learned_at = now;
        self.taken = Units::default();
        let running = u32::try_from(known.busy.get(Kind::AtOnce)).unwrap_or(u32::MAX);
        self.peak = (running, self.peak.0.max(self.peak.1 - self.peak.1 / 4));
    }

    /// Returns the block that covers the calls that run, those that wait, and a second's worth of others.
    fn wants(&self, busy: Units, known: &Known<'_>) -> Units {
        let now = busy.plus(self.needs);
        let mut wants = now.plus(self.flow).plus(self.largest);
        let peak = i64::from(self.peak.1).saturating_add(1);
        let at_once = now.get(Kind::AtOnce).max(peak);
        wants.set(Kind::AtOnce, at_once);
        for kind in Kind::ALL {
            if !kind.is_limited(known.limits) {
                wants.set(kind, 0);
            }
        }
        capped(wants, known)
    }

    /// Takes a grant. What was used since the request is not in it yet.
    /// Returns `false` if it belongs to another report; then nothing changes.
    pub(crate) fn grant(&mut self, grant: &Grant, now: u64) -> bool {
        if grant.sequence != self.acked.saturating_add(1) {
            return false;
        }
        let Some(pending) = self.pending.take() else {
            return false;
        };
        self.acked = grant.sequence;
        self.fence = grant.fence;
        self.holds = grant.holds;
        self.free = grant.free;
        for kind in Kind::ALL {
            self.level.set(kind, grant.free.get(kind));
            if self.holds.get(kind) < pending.needs.get(kind) {
                self.free.set(kind, 0);
            }
        }
        self.gateways = grant.gateways;
        self.sums = grant.sums;
        self.granted_at = now;
        if let Some(fair) = self.fair.take() {
            for kind in [Kind::Requests, Kind::TokensPerMinute] {
                self.spent.add(kind, fair.taken(kind));
            }
        }
        true
    }

    /// Returns what was used and is not in the sums of the store.
    pub(crate) fn unreported(&self) -> impl Iterator<Item = (Day, Amount)> {
        let pending = self.pending.iter().flat_map(|pending| pending.used.clone());
        pending.chain(self.used.clone())
    }
}

/// Bounds what is wanted of a limit per minute by a full bucket.
fn capped(mut units: Units, known: &Known<'_>) -> Units {
    for kind in Kind::ALL {
        let most = known.bucket(kind).map_or(i64::MAX, Bucket::whole_limit);
        units.set(kind, units.get(kind).min(most));
    }
    units
}
