//! The worker pool's state machine: waiting calls, their order, and refusals with reasons.
//!
//! Owns the waiting calls, their deadlines and bytes, the retry budget and the token buckets. A call that the backend
//! refused is held and returns to the head of the queue without using an attempt. How much the backend can carry is not
//! decided here: the [`Grant`] contains it.

use crate::num::{real, seconds};
use crate::{
    AttemptId, Chance, Grant, Kind, LaneState, Outcome, Permission, PoolSettings, Timestamp,
    settings::Order,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod admission;
mod bucket;
mod drain;
mod hedge;
mod load;
mod messages;
mod open;
mod quantile;
mod queue;
mod report;
mod settle;
use bucket::Bucket;
use hedge::Hedging;
use load::{Load, OutputLength, RecentPeakRate};
pub use messages::{
    AfterAttempt, CallId, Dispatch, Exhaustion, Hedge, OfferedCall, PoolReport, PriorityReport,
    Refusal, RefusalReason,
};
pub use open::OpenTerms;
use queue::{Choice, Entry, Queue};

#[derive(Debug)]
struct Call<T> {
    payload: T,
    meta: Meta,
}

/// The properties of a call besides its payload.
#[derive(Clone, Copy, Debug)]
struct Meta {
    id: CallId,
    arrived: Timestamp,
    deadline: Timestamp,
    bytes: u64,
    /// The tokens that are reserved until the true cost is known.
    tokens: u32,
    /// The part of `tokens` that is certain: the prompt.
    fixed_tokens: u32,
    tenant: u64,
    priority: u8,
    weight: f64,
    attempts: u32,
    /// The number of calls that had been served when it arrived.
    served_before: f64,
    /// The number of consecutive refusals.
    refusals: u32,
    /// `true` if it was sent and returned to the queue.
    sent: bool,
    /// `true` if it may still be hedged.
    hedge: bool,
    /// `true` if it does not wait for a cold backend.
    refuse_when_cold: bool,
    kind: Kind,
}

/// The longest time before its deadline at which a waiting call is refused, so that the refusal arrives in time, and the
/// largest share of the call's whole time that this may be.
const NOTICE: (Duration, f64) = (Duration::from_millis(150), 0.05);

/// Returns when a call is refused if it still waits.
fn gives_up(arrived: Timestamp, deadline: Timestamp) -> Timestamp {
    let whole = deadline.since(arrived);
    let notice = NOTICE.0.min(whole.mul_f64(NOTICE.1));
    arrived.after(whole.saturating_sub(notice))
}

impl Meta {
    /// Returns when the call is refused if it still waits.
    fn gives_up(&self) -> Timestamp {
        gives_up(self.arrived, self.deadline)
    }

    fn entry(&self) -> Entry {
        Entry {
            id: self.id,
            priority: self.priority,
            tenant: self.tenant,
            tokens: self.tokens,
            weight: self.weight,
            returned: self.sent,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Running {
    meta: Meta,
    probe: bool,
    sent: Timestamp,
    /// `true` if the first part of its answer has arrived.
    begun: bool,
    /// `true` if it is a hedge.
    hedge: bool,
    other: Other,
}

/// The other attempt of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    /// There is no other attempt, or it has failed. This attempt decides how the call ends.
    None,
    /// The other attempt is still running.
    Runs(AttemptId),
    /// The other attempt has ended the call. This attempt no longer counts.
    Decided,
}

/// The share of its whole time that the oldest call has waited when a backlog counts as overload.
const OVERDUE: f64 = 0.25;

/// A limit that is higher by this factor and one call has grown, so that the rate of the last seconds says little about the
/// next ones.
const GREW: f64 = 1.25;

/// The state machine of one lane's pool.
#[derive(Debug)]
pub struct Pool<T> {
    settings: PoolSettings,
    grant: Grant,
    calls: BTreeMap<CallId, Call<T>>,
    queue: Queue,
    deadlines: BTreeSet<(Timestamp, CallId)>,
    /// Calls that wait for a point in time: retries, and calls held after a refusal.
    delayed: BTreeSet<(Timestamp, CallId)>,
    /// Calls held after a refusal: each keeps its slot, so that no other is refused in its place.
    held: BTreeSet<CallId>,
    /// Calls to be tried again once successes have paid for it, and the time at which they are tried in any case.
    unpaid: BTreeMap<CallId, Timestamp>,
    /// Calls with less time left than the deadline margin. They are sent when no call with more time waits.
    short: BTreeSet<(Timestamp, CallId)>,
    running: BTreeMap<AttemptId, Running>,
    probes: u32,
    bytes: u64,
    next_id: u64,
    next_attempt: u64,
    retries: f64,
    requests: Bucket,
    tokens: Bucket,
    load: Load,
    peak: RecentPeakRate,
    output: OutputLength,
    hedging: Hedging,
    refused: Vec<(T, Refusal)>,
    /// Calls from this one on have not been looked at in the middle of their time.
    looked_until: CallId,
    /// Calls served so far.
    served: f64,
    /// The lowest limit since the limit last grew, in calls.
    calm: f64,
    /// Since when the lane serves without a pause, a cold start, an outage or a growth of its limit.
    steady_since: Timestamp,
    closed: bool,
}

impl<T> Pool<T> {
    /// Creates an empty pool.
    pub fn new(settings: &PoolSettings, grant: Grant, now: Timestamp) -> Self {
        Self {
            settings: settings.clone(),
            grant,
            calls: BTreeMap::new(),
            queue: Queue::new(settings.reserved_one_in),
            deadlines: BTreeSet::new(),
            delayed: BTreeSet::new(),
            held: BTreeSet::new(),
            unpaid: BTreeMap::new(),
            short: BTreeSet::new(),
            running: BTreeMap::new(),
            probes: 0,
            bytes: 0,
            next_id: 0,
            next_attempt: 0,
            retries: settings.retry_start,
            requests: Bucket::new(grant.requests, now),
            tokens: Bucket::new(grant.tokens, now),
            load: Load::default(),
            peak: RecentPeakRate::default(),
            output: OutputLength::default(),
            hedging: Hedging::new(settings.hedge_ratio),
            refused: Vec::new(),
            looked_until: CallId(0),
            served: 0.0,
            calm: f64::from(grant.concurrency),
            steady_since: now,
            closed: false,
        }
    }

    /// Takes the controller's new grant.
    pub fn set_grant(&mut self, grant: Grant, now: Timestamp) {
        self.requests.set(grant.requests, self.grant.requests, now);
        self.tokens.set(grant.tokens, self.grant.tokens, now);
        let calls = f64::from(grant.concurrency);
        let grew = calls > GREW * self.calm + 1.0;
        if grew || calls < self.calm {
            self.calm = calls;
        }
        if grew || self.grant.state != LaneState::Steady {
            self.steady_since = now;
        }
        let margins_shrink = grant.service_time_high < self.grant.service_time_high;
        let was = self.grant.state;
        self.grant = grant;
        self.peak.note(grant.delivered_rate.unwrap_or(0.0), now);
        if margins_shrink {
            self.return_short(now);
        }
        if let Permission::Closed { until } = self.grant.permission {
            self.refuse_due_before(until, now);
        }
        if self.grant.state == LaneState::Cold && was != LaneState::Cold {
            self.refuse_impatient(now);
        }
    }

    /// Refuses the waiting calls that do not wait for a cold backend.
    fn refuse_impatient(&mut self, now: Timestamp) {
        let calls = self.calls.iter();
        let impatient = calls.filter(|(_, call)| call.meta.refuse_when_cold);
        let impatient: Vec<_> = impatient.map(|(id, _)| *id).collect();
        for id in impatient {
            self.give_up(id, RefusalReason::Cold, now);
        }
    }

    /// Refuses the waiting calls whose deadlines are before the time at which a closed lane opens.
    fn refuse_due_before(&mut self, until: Timestamp, now: Timestamp) {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline >= until || !self.give_up(id, self.waiting_reason(), now) {
                break;
            }
        }
    }

    /// Returns the calls that are no longer below the deadline margin to their places in the queue.
    fn return_short(&mut self, now: Timestamp) {
        let has_time = |(deadline, id): &(Timestamp, CallId)| {
            let call = self.calls.get(id);
            call.is_some_and(|call| deadline.since(now) >= self.margin(&call.meta))
        };
        let returned: Vec<_> = self.short.iter().copied().filter(has_time).collect();
        for entry in returned {
            self.short.remove(&entry);
            if let Some(call) = self.calls.get(&entry.1) {
                self.queue.push(call.meta.entry());
            }
        }
    }

    /// Returns the grant in force.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Takes one call out that may be sent now. Calls that can no longer end in time are returned by [`Pool::expire`],
    /// which must be called after the last `next`.
    pub fn next(&mut self, now: Timestamp) -> Option<Dispatch<T>> {
        self.release_delayed(now);
        let probe = match self.grant.permission {
            Permission::Open if self.slots_taken() >= self.grant.concurrency => return None,
            Permission::Open => false,
            Permission::SingleFlight { not_before } if now < not_before || self.probes > 0 => {
                return None;
            }
            Permission::SingleFlight { .. } => true,
            Permission::Paused { until } | Permission::Closed { until } if now < until => {
                return None;
            }
            // The pause is over, but the controller has not spoken yet: one call is safe.
            Permission::Paused { .. } | Permission::Closed { .. } if self.in_flight() > 0 => {
                return None;
            }
            Permission::Paused { .. } | Permission::Closed { .. } => false,
        };
        if !self.requests.holds(1.0, now) || !self.tokens.holds(1.0, now) {
            return None;
        }
        let id = if probe {
            self.latest_deadline()?
        } else {
            self.next_in_turn(now).or_else(|| self.next_short(now))?
        };
        let call = self.take(id)?;
        Some(self.send(call, probe, now))
    }

    /// Takes the next call out of the queue. A call with less time left than the deadline margin is moved to `short`.
    fn next_in_turn(&mut self, now: Timestamp) -> Option<CallId> {
        let choice = self.choice_with_time(now)?;
        loop {
            let id = self.queue.pop(choice)?;
            let Some(call) = self.calls.get(&id) else {
                continue;
            };
            let (meta, margin) = (call.meta, self.margin(&call.meta));
            if meta.deadline.since(now) >= margin {
                return Some(id);
            }
            self.short.insert((meta.deadline, id));
        }
    }

    /// Takes the call with the most time left of those below the deadline margin. Used when a slot is free and no call
    /// with more time waits.
    fn next_short(&mut self, now: Timestamp) -> Option<CallId> {
        if !self.has_short(now) {
            return None;
        }
        self.short.pop_last().map(|entry| entry.1)
    }

    /// Returns which call goes next. A trial of more load is made with the call in turn if it has time for it, else with the newest;
    /// the call in turn keeps its place. Returns `None` if neither has time: then nothing is tried.
    fn choice_with_time(&self, now: Timestamp) -> Option<Choice> {
        let choice = self.choice(now);
        let needed = self.trial_time();
        let newest = Choice {
            newest: true,
            ..choice
        };
        let has_time = |choice: &Choice| {
            let id = self.queue.next(*choice);
            let call = id.and_then(|id| self.calls.get(&id));
            call.is_some_and(|call| call.meta.deadline.since(now) >= needed)
        };
        if needed.is_zero() {
            return Some(choice);
        }
        [choice, newest].into_iter().find(has_time)
    }

    /// Returns the time that a call must have left if it tests a higher load: as long as usual, times what it may be slower.
    fn trial_time(&self) -> Duration {
        let level = self.grant.trial_above.unwrap_or(u32::MAX).max(1);
        let next = self.in_flight() + 1;
        if next <= level {
            return Duration::ZERO;
        }
        self.grant
            .service_time
            .mul_f64(f64::from(next) / f64::from(level))
    }

    /// Returns `true` if a call below the deadline margin may be sent: it still has the time that a call usually takes, or
    /// nothing is in flight. A call on an idle backend delays no other one.
    fn has_short(&self, now: Timestamp) -> bool {
        let usual = self.grant.service_time.min(self.grant.service_time_high);
        let usual = usual.max(self.trial_time());
        let last = self.short.last();
        last.is_some_and(|(deadline, _)| self.slots_taken() == 0 || deadline.since(now) >= usual)
    }

    /// Returns `true` if a call could be sent now but none is in flight. This must never be so after [`Pool::next`] has
    /// returned `None`.
    pub fn is_idle_though_calls_wait(&self, now: Timestamp) -> bool {
        self.grant.permission == Permission::Open
            && self.grant.concurrency > 0
            && self.slots_taken() == 0
            && !(self.queue.is_empty() && self.short.is_empty())
            && self.refilled(now) <= now
    }

    /// Returns which call goes next: one of the lowest priority during a trial of more load, the newest under sustained
    /// overload if the settings say so.
    fn choice(&self, now: Timestamp) -> Choice {
        let trial = self.grant.trial_above;
        let newest = self.settings.order == Order::NewestFirst
            && self.load.exceeds(now)
            && self.calls.first_key_value().is_some_and(|(_, oldest)| {
                let whole = oldest.meta.deadline.since(oldest.meta.arrived);
                now.since(oldest.meta.arrived) > whole.mul_f64(OVERDUE)
            });
        Choice {
            newest,
            lowest: trial.is_some_and(|level| self.in_flight() >= level),
        }
    }

    /// Takes the waiting call with the most time left out of the queue, as a probe. The oldest call would reach its
    /// deadline before a loading backend could answer.
    fn latest_deadline(&mut self) -> Option<CallId> {
        let mut latest = self.deadlines.iter().rev().map(|entry| entry.1);
        let waits = |id: &CallId| self.queue.holds(*id) || self.is_short(*id);
        let id = latest.find(waits)?;
        self.queue_remove(id);
        Some(id)
    }

    fn send(&mut self, call: Call<T>, probe: bool, now: Timestamp) -> Dispatch<T> {
        let mut meta = call.meta;
        meta.attempts += 1;
        meta.sent = true;
        let attempt = self.number_attempt();
        self.probes += u32::from(probe);
        let running = Running {
            meta,
            probe,
            sent: now,
            begun: false,
            hedge: false,
            other: Other::None,
        };
        if meta.hedge && !probe {
            self.hedging.may_be_late(now, attempt);
        }
        self.start(attempt, running, now).with(call.payload)
    }

    fn number_attempt(&mut self) -> AttemptId {
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        attempt
    }

    /// Records an attempt as in flight.
    fn start(&mut self, attempt: AttemptId, running: Running, now: Timestamp) -> Dispatch<()> {
        let meta = running.meta;
        self.requests.spend(1.0, now);
        self.tokens.spend(f64::from(meta.tokens), now);
        self.running.insert(attempt, running);
        Dispatch {
            payload: (),
            call: meta.id,
            attempt,
            number: meta.attempts,
            probe: running.probe,
            timeout: self.timeout(running.probe, meta.deadline.since(now)),
            deadline: meta.deadline,
            in_flight: self.in_flight(),
            waited: now.since(meta.arrived),
            tokens: meta.tokens,
            kind: meta.kind,
        }
    }

    /// Returns the time an attempt may take with `left` until the deadline: what the operator allows, or more where a
    /// slow tail was proved, but then at most half of what is left. A probe is given the time that loading takes, but
    /// not one of a broken backend: that is not loading.
    fn timeout(&self, probe: bool, left: Duration) -> Duration {
        let (base, proved) = (self.grant.attempt_timeout_base, self.grant.attempt_timeout);
        let usual = open::usual_timeout(base, proved, left);
        if probe && self.grant.state != LaneState::Open {
            return usual.max(self.settings.wake_timeout).min(left);
        }
        usual.min(left)
    }

    /// Takes a waiting call out, because its caller is gone.
    pub fn cancel(&mut self, call: CallId, _now: Timestamp) -> Option<T> {
        self.queue_remove(call);
        self.take(call).map(|call| call.payload)
    }

    /// Returns the calls that can no longer be served, each exactly once.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(T, Refusal)> {
        // Also here, because `next` is not called while no worker is free.
        self.release_delayed(now);
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            if !self.give_up(id, self.waiting_reason(), now) {
                break;
            }
        }
        while let Some((id, at)) = self.first_in_vain() {
            if at > now || !self.give_up(id, self.waiting_reason(), now) {
                break;
            }
        }
        self.refuse_hopeless(now);
        std::mem::take(&mut self.refused)
    }

    /// Refuses a waiting call.
    fn give_up(&mut self, id: CallId, reason: RefusalReason, now: Timestamp) -> bool {
        self.queue_remove(id);
        let refusal = self.refusal(reason, now);
        let call = self.take(id);
        let given_up = call.is_some();
        self.refused
            .extend(call.map(|call| (call.payload, refusal)));
        given_up
    }

    /// Returns the call that has waited longest for a backend that does not serve and does not say when it will, and
    /// when that wait ends.
    fn first_in_vain(&self) -> Option<(CallId, Timestamp)> {
        let cannot_serve = match self.grant.state {
            LaneState::Cold | LaneState::Probe => self.grant.ready_eta.is_none(),
            LaneState::Open => true,
            _ => false,
        };
        let (id, call) = self.calls.first_key_value().filter(|_| cannot_serve)?;
        Some((*id, call.meta.arrived.after(self.settings.cold_wait_max)))
    }

    /// Refuses new calls from now on. Admitted calls are still served.
    pub fn close(&mut self, _now: Timestamp) {
        self.closed = true;
    }

    /// Admits calls again after [`Pool::close`].
    pub fn resume(&mut self) {
        self.closed = false;
    }

    /// Returns when something is due: an expiry, a retry, a refill, the end of a pause, a probe, a hedge.
    pub fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.refused.is_empty() {
            return Some(now);
        }
        let expiry = self.deadlines.first().map(|entry| entry.0);
        let retry = self.delayed.first().map(|entry| entry.0);
        let gate = self.gate(now);
        let hedge = self.hedge_due(now);
        let in_vain = self.first_in_vain().map(|(_, at)| at);
        let look = self.next_look().map(|(at, _)| at);
        let due = [expiry, retry, gate, hedge, in_vain, look];
        due.into_iter().flatten().min()
    }

    /// Returns when the next waiting call may go; none when that is not a matter of time, but of an attempt's end.
    fn gate(&self, now: Timestamp) -> Option<Timestamp> {
        let permitted = match self.grant.permission {
            _ if self.queue.is_empty() && !self.has_short(now) => return None,
            // Nothing has time for a trial, and time passes: an attempt must end first.
            Permission::Open if self.choice_with_time(now).is_none() && !self.has_short(now) => {
                return None;
            }
            Permission::Open if self.slots_taken() >= self.grant.concurrency => return None,
            Permission::Open => now,
            Permission::SingleFlight { .. } if self.probes > 0 => return None,
            Permission::SingleFlight { not_before } => not_before,
            Permission::Paused { until } | Permission::Closed { until }
                if until <= now && self.in_flight() > 0 =>
            {
                return None;
            }
            Permission::Paused { until } | Permission::Closed { until } => until,
        };
        Some(permitted.max(self.refilled(now)))
    }

    /// Returns when the buckets hold a request.
    fn refilled(&self, now: Timestamp) -> Timestamp {
        let requests = self.requests.ready(1.0, now);
        requests.max(self.tokens.ready(1.0, now))
    }

    /// Returns the attempts in flight.
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap_or(u32::MAX)
    }

    /// Returns the slots that are not free: attempts in flight, and calls held after a refusal.
    fn slots_taken(&self) -> u32 {
        self.in_flight()
            .saturating_add(u32::try_from(self.held.len()).unwrap_or(u32::MAX))
    }

    /// Returns `true` if the call waits, also between attempts.
    pub fn is_waiting(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Returns the calls waiting, those between attempts included.
    pub fn queued(&self) -> usize {
        self.calls.len()
    }
}

#[cfg(test)]
mod tests;
