//! Admission control and refusal reasons.

use std::time::Duration;

use super::{
    Call, CallId, LaneState, Meta, OfferedCall, Permission, Pool, Refusal, RefusalReason,
    Timestamp, gives_up, real, seconds,
};

/// The factor by which the backend may exceed its best rate of the last minutes while a call waits.
const GROWTH: f64 = 2.0;

/// The share of its whole time after which a waiting call is examined once, so that a refused caller has about half of
/// its time left for another backend.
const LOOK: f64 = 0.49;
/// A call is refused if the calls ahead of it exceed this factor times the calls served while it waited, plus this
/// number. The rate of a steady lane seldom grows by more within half of a call's time.
const SURE: (f64, f64) = (1.1, 2.0);

/// The smallest weight of a tenant; a smaller one counts as this, so that the service charged per call stays finite.
const WEIGHT_MIN: f64 = 0.001;

impl<T> Pool<T> {
    /// Admits a call, or returns it with the reason of its refusal.
    ///
    /// # Errors
    /// Returns the payload and the refusal when the queue is full, the wait would outlast the
    /// deadline, or waiting is useless.
    pub fn offer(&mut self, offer: OfferedCall<T>, now: Timestamp) -> Result<CallId, (T, Refusal)> {
        self.load.arrived(now);
        if let Some(reason) = self.objection(&offer, now) {
            let refusal = self.refusal(reason, now);
            return Err((offer.payload, refusal));
        }
        if self.calls.len() >= self.settings.queue_max && !self.may_go_at_once(now) {
            // The tenant with the longest queue sheds first, not the one that asks.
            let Some(victim) = self.queue.victim(offer.tenant) else {
                return Err((offer.payload, self.refusal(RefusalReason::QueueFull, now)));
            };
            self.queue.remove(victim);
            let refusal = self.refusal(RefusalReason::QueueFull, now);
            if let Some(call) = self.take(victim) {
                self.refused.push((call.payload, refusal));
            }
        }
        let meta = self.meta(&offer, now);
        self.insert(
            Call {
                payload: offer.payload,
                meta,
            },
            None,
        );
        Ok(meta.id)
    }

    /// Assigns a number to a call and returns its properties.
    pub(super) fn meta<U>(&mut self, offer: &OfferedCall<U>, now: Timestamp) -> Meta {
        let id = CallId(self.next_id);
        self.next_id += 1;
        Meta {
            id,
            arrived: now,
            deadline: offer.deadline,
            bytes: offer.bytes,
            tokens: self.output.reserve(offer.tokens, offer.output_tokens_max),
            fixed_tokens: offer.tokens.saturating_sub(offer.output_tokens_max),
            tenant: offer.tenant,
            priority: offer.priority,
            weight: offer.weight.max(WEIGHT_MIN),
            attempts: 0,
            served_before: self.served,
            refusals: 0,
            sent: false,
            hedge: self.may_be_hedged(offer),
            refuse_when_cold: offer.refuse_when_cold,
            kind: offer.kind,
        }
    }

    /// A call that finds the queue empty and a slot free does not wait, so the bounds of the queue do not apply to it.
    fn may_go_at_once(&self, now: Timestamp) -> bool {
        let permitted = match self.grant.permission {
            Permission::Open => true,
            // Else a lane without a queue would never send the call that wakes its backend.
            Permission::SingleFlight { not_before } => now >= not_before && self.probes == 0,
            Permission::Paused { .. } | Permission::Closed { .. } => false,
        };
        permitted && self.calls.is_empty() && self.in_flight() < self.grant.concurrency
    }

    fn objection(&self, offer: &OfferedCall<T>, now: Timestamp) -> Option<RefusalReason> {
        let left = offer.deadline.since(now);
        if self.closed {
            return Some(RefusalReason::Draining);
        }
        if left.is_zero() {
            return Some(RefusalReason::QueueTimeout);
        }
        if self.bytes.saturating_add(offer.bytes) > self.settings.queue_bytes_max {
            return Some(RefusalReason::QueueBytes);
        }
        match self.grant.permission {
            Permission::Closed { until } if until > offer.deadline => {
                return Some(RefusalReason::Quota);
            }
            Permission::Paused { until } if until > offer.deadline => {
                return Some(RefusalReason::Backoff);
            }
            _ => {}
        }
        // An estimate of the time to load is a prior: half of it may be all that is left.
        let asks = self.would_ask(offer, now);
        let eta = self.grant.ready_eta.filter(|_| !asks);
        let late = eta.is_some_and(|at| at.since(now) / 2 > left);
        match self.grant.state {
            LaneState::Cold | LaneState::Probe if late || offer.refuse_when_cold => {
                return Some(RefusalReason::Cold);
            }
            LaneState::Open if late => return Some(RefusalReason::Broken),
            _ if asks => return None,
            _ => {}
        }
        // A newcomer of a short queue is not charged with another tenant's backlog.
        let wait = self
            .least_wait(now)
            .filter(|_| self.queue.victim(offer.tenant).is_none());
        wait.filter(|wait| *wait > left)
            .map(|_| self.too_late_reason())
    }

    /// Returns `true` if a new call would be the next probe of a backend that does not serve, because no waiting call can be.
    /// It is admitted whatever time was announced or learned: if nobody waited, nobody would ask whether the backend serves
    /// earlier.
    fn would_ask(&self, offer: &OfferedCall<T>, now: Timestamp) -> bool {
        let Permission::SingleFlight { not_before } = self.grant.permission else {
            return false;
        };
        let last = self.deadlines.last().map(|entry| entry.0);
        self.grant.ready_eta.is_some()
            && self.probes == 0
            && last.is_none_or(|at| at <= not_before)
            && gives_up(now, offer.deadline) > not_before
    }

    /// Predicts the wait of a call offered now: `position / delivered rate`.
    pub(super) fn predicted_wait(&self, now: Timestamp) -> Option<Duration> {
        if let Some(at) = self.grant.ready_eta {
            return Some(at.since(now));
        }
        if self.is_away() {
            return None;
        }
        if self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let rate = self.grant.delivered_rate.filter(|rate| *rate > 0.0)?;
        Some(seconds(real(self.queue.len()) / rate))
    }

    /// Returns `true` if the backend loads, is not there or fails.
    fn is_away(&self) -> bool {
        matches!(
            self.grant.state,
            LaneState::Cold | LaneState::Probe | LaneState::Open
        )
    }

    /// Returns the wait at [`GROWTH`] times the best rate of the last minutes: no call is refused for a wait that may
    /// still end in time.
    fn least_wait(&self, now: Timestamp) -> Option<Duration> {
        if let Some(at) = self.grant.ready_eta {
            return Some(at.since(now) / 2);
        }
        let best = self.peak.rate();
        (best > 0.0).then(|| seconds(real(self.queue.len()) / (GROWTH * best)))
    }

    /// Returns the first call that has not been looked at in the middle of its time, and when that is; none while so few
    /// calls wait that each may be reached.
    pub(super) fn next_look(&self) -> Option<(Timestamp, CallId)> {
        if real(self.queue.len()) <= SURE.1 {
            return None;
        }
        let (id, call) = self.calls.range(self.looked_until..).next()?;
        let whole = call.meta.gives_up().since(call.meta.arrived);
        Some((call.meta.arrived.after(whole.mul_f64(LOOK)), *id))
    }

    /// Refuses the calls that, in the middle of their time, are sure not to be reached. They are looked at in the order of
    /// arrival: one behind a call with a much later deadline waits for its own deadline.
    pub(super) fn refuse_hopeless(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.next_look() {
            if at > now {
                return;
            }
            self.looked_until = CallId(id.0 + 1);
            if self.is_hopeless(id, now) {
                let reason = self.too_late_reason();
                self.give_up(id, reason, now);
            }
        }
    }

    /// Returns `true` if more calls are ahead than will be served in the time left, at the rate at which calls were served
    /// while this one waited. Of a lane that was not steady all that time nothing is sure.
    fn is_hopeless(&self, id: CallId, now: Timestamp) -> bool {
        let (Some(call), Some(ahead)) = (self.calls.get(&id), self.queue.ahead(id)) else {
            return false;
        };
        let meta = &call.meta;
        let steady = self.grant.state == LaneState::Steady && meta.arrived >= self.steady_since;
        let waited = now.since(meta.arrived).as_secs_f64().max(1e-3);
        let left = meta.gives_up().since(now).as_secs_f64();
        let served = (self.served - meta.served_before) * left / waited;
        steady && real(ahead) > SURE.0 * served + SURE.1
    }

    /// Returns the refusal for `reason`, with the times that its caller needs.
    pub fn refusal(&self, reason: RefusalReason, now: Timestamp) -> Refusal {
        let ready_in = self.grant.ready_eta.map(|at| at.since(now));
        let retry_after = match self.grant.permission {
            // The end of the closure is unknown.
            Permission::Closed { until } if until == Timestamp::MAX => None,
            Permission::Paused { until } | Permission::Closed { until } => Some(until.since(now)),
            // When the backend serves is not known, but not before it is asked again.
            Permission::SingleFlight { not_before } if self.grant.state == LaneState::Open => {
                Some(not_before.since(now))
            }
            _ => ready_in.or_else(|| self.predicted_wait(now)),
        };
        Refusal {
            reason,
            retry_after,
            ready_in,
        }
    }

    /// Returns the reason why a call would not be served in time. It is `WaitTooLong` only if the backend serves.
    pub(super) fn too_late_reason(&self) -> RefusalReason {
        match self.waiting_reason() {
            RefusalReason::QueueTimeout => RefusalReason::WaitTooLong,
            reason => reason,
        }
    }

    /// Returns the reason why a waiting call was not served.
    pub(super) fn waiting_reason(&self) -> RefusalReason {
        match (self.grant.permission, self.grant.state) {
            (Permission::Closed { .. }, _) => RefusalReason::Quota,
            (Permission::Paused { .. }, _) => RefusalReason::Backoff,
            (_, LaneState::Cold | LaneState::Probe) => RefusalReason::Cold,
            (_, LaneState::Open) => RefusalReason::Broken,
            _ => RefusalReason::QueueTimeout,
        }
    }

    /// Returns the deadline margin of a call. A call with less time left is sent after those with more.
    pub(super) fn margin(&self, meta: &Meta) -> Duration {
        self.margin_of(meta.deadline.since(meta.arrived))
    }

    fn margin_of(&self, whole: Duration) -> Duration {
        self.grant
            .service_time_high
            .min(whole.mul_f64(self.settings.deadline_margin_share))
    }

    pub(super) fn insert(&mut self, call: Call<T>, not_before: Option<Timestamp>) {
        let meta = call.meta;
        self.bytes += meta.bytes;
        self.deadlines.insert((meta.gives_up(), meta.id));
        match not_before {
            Some(at) => {
                self.delayed.insert((at, meta.id));
            }
            None => self.queue.push(meta.entry()),
        }
        self.calls.insert(meta.id, call);
    }

    pub(super) fn take(&mut self, id: CallId) -> Option<Call<T>> {
        let call = self.calls.remove(&id)?;
        self.bytes -= call.meta.bytes;
        self.deadlines.remove(&(call.meta.gives_up(), id));
        Some(call)
    }

    pub(super) fn queue_remove(&mut self, id: CallId) {
        if !self.queue.remove(id) {
            self.delayed.retain(|entry| entry.1 != id);
            self.held.remove(&id);
            self.unpaid.remove(&id);
            if let Some(call) = self.calls.get(&id) {
                self.short.remove(&(call.meta.deadline, id));
            }
        }
    }

    /// Returns `true` if the call waits below the deadline margin.
    pub(super) fn is_short(&self, id: CallId) -> bool {
        let call = self.calls.get(&id);
        call.is_some_and(|call| self.short.contains(&(call.meta.deadline, id)))
    }

    pub(super) fn release_delayed(&mut self, now: Timestamp) {
        while let Some(&(at, id)) = self.delayed.first() {
            if at > now {
                break;
            }
            self.delayed.remove(&(at, id));
            self.held.remove(&id);
            if self.unpaid.remove(&id).is_some() {
                // The successes that were to pay for it did not come: it takes what there is.
                self.retries = (self.retries - 1.0).max(0.0);
            }
            if let Some(call) = self.calls.get(&id) {
                self.queue.push(call.meta.entry());
            }
        }
    }
}
