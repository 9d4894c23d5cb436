//! Who is let in, and the truth for those who are not.

use std::time::Duration;

use super::{
    Call, CallId, LaneState, Meta, Offer, Permission, Pool, Refusal, RefusalReason, Timestamp,
    real, seconds,
};

/// Part of the best rate of the last minutes that a caller may hope for; less than all, because the best of noisy
/// numbers is too high.
const HOPED: f64 = 0.65;

/// The smallest share of a tenant: whatever it is told, the queue stays finite.
const WEIGHT_MIN: f64 = 0.001;

impl<T> Pool<T> {
    /// Lets a call in, or gives it back with the reason.
    ///
    /// # Errors
    /// Returns the payload and the refusal when the queue is full, the wait would outlast the
    /// deadline, or waiting is useless.
    pub fn offer(&mut self, offer: Offer<T>, now: Timestamp) -> Result<CallId, (T, Refusal)> {
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
        let id = CallId(self.next_id);
        self.next_id += 1;
        let meta = Meta {
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
            refusals: 0,
            sent: false,
            hedge: self.may_be_hedged(&offer),
        };
        self.insert(
            Call {
                payload: offer.payload,
                meta,
            },
            None,
        );
        Ok(id)
    }

    /// A call that finds the queue empty and a slot free is not waiting, whatever the queue may hold.
    fn may_go_at_once(&self, now: Timestamp) -> bool {
        let permitted = match self.grant.permission {
            Permission::Open => true,
            // Else a lane without a queue would never send the call that wakes its backend.
            Permission::SingleFlight { not_before } => now >= not_before && self.probes == 0,
            Permission::Paused { .. } | Permission::Closed { .. } => false,
        };
        permitted && self.calls.is_empty() && self.in_flight() < self.grant.concurrency
    }

    fn objection(&self, offer: &Offer<T>, now: Timestamp) -> Option<RefusalReason> {
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
        let late = self.grant.ready_eta.is_some_and(|at| at > offer.deadline);
        match self.grant.state {
            LaneState::Cold | LaneState::Probe if late || offer.refuse_when_cold => {
                return Some(RefusalReason::Cold);
            }
            LaneState::Open if late => return Some(RefusalReason::Broken),
            _ => {}
        }
        // A newcomer of a short queue is not charged with another tenant's backlog.
        let wait = self
            .hoped_wait(now)
            .filter(|_| self.queue.victim(offer.tenant).is_none());
        // What is left when its turn comes must be enough to be sent; the wait is a guess, so half of that is asked.
        let brink = self.brink_of(left);
        wait.filter(|wait| *wait + brink / 2 > left)
            .map(|_| RefusalReason::WaitTooLong)
    }

    /// Predicts the wait of a call offered now: `position / delivered rate`.
    pub(super) fn predicted_wait(&self, now: Timestamp) -> Option<Duration> {
        if let Some(at) = self.grant.ready_eta {
            return Some(at.since(now));
        }
        if self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let rate = self.grant.delivered_rate.filter(|rate| *rate > 0.0)?;
        Some(seconds(real(self.queue.len()) / rate))
    }

    /// Predicts the wait at the best rate of the last minutes: a caller is not sent away for a dip that may end in time.
    fn hoped_wait(&self, now: Timestamp) -> Option<Duration> {
        let wait = self.predicted_wait(now)?;
        if self.grant.ready_eta.is_some() {
            return Some(wait);
        }
        let best = seconds(real(self.queue.len()) / (HOPED * self.hope.rate()).max(1e-9));
        Some(wait.min(best))
    }

    /// Says what a caller refused for `reason` needs to know.
    pub fn refusal(&self, reason: RefusalReason, now: Timestamp) -> Refusal {
        let ready_in = self.grant.ready_eta.map(|at| at.since(now));
        let retry_after = match self.grant.permission {
            Permission::Paused { until } | Permission::Closed { until } => Some(until.since(now)),
            _ => ready_in.or_else(|| self.predicted_wait(now)),
        };
        Refusal {
            reason,
            retry_after,
            ready_in,
        }
    }

    /// Names what kept a waiting call from being served.
    pub(super) fn waiting_reason(&self) -> RefusalReason {
        match (self.grant.permission, self.grant.state) {
            (Permission::Closed { .. }, _) => RefusalReason::Quota,
            (Permission::Paused { .. }, _) => RefusalReason::Backoff,
            (_, LaneState::Cold | LaneState::Probe) => RefusalReason::Cold,
            (_, LaneState::Open) => RefusalReason::Broken,
            _ => RefusalReason::QueueTimeout,
        }
    }

    /// Returns the time below which a call would fail at the brink.
    pub(super) fn brink(&self, meta: &Meta) -> Duration {
        self.brink_of(meta.deadline.since(meta.arrived))
    }

    fn brink_of(&self, whole: Duration) -> Duration {
        self.grant
            .service_time_high
            .min(whole.mul_f64(self.settings.brink_share))
    }

    pub(super) fn insert(&mut self, call: Call<T>, not_before: Option<Timestamp>) {
        let meta = call.meta;
        self.bytes += meta.bytes;
        self.deadlines.insert((meta.deadline, meta.id));
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
        self.deadlines.remove(&(call.meta.deadline, id));
        Some(call)
    }

    pub(super) fn queue_remove(&mut self, id: CallId) {
        if !self.queue.remove(id) {
            self.delayed.retain(|entry| entry.1 != id);
            self.held.remove(&id);
            self.unpaid.remove(&id);
        }
    }

    pub(super) fn release_delayed(&mut self, now: Timestamp) {
        while let Some(&(at, id)) = self.delayed.first() {
            if at > now {
                break;
            }
            self.delayed.remove(&(at, id));
            self.held.remove(&id);
            if let Some(call) = self.calls.get(&id) {
                self.queue.push(call.meta.entry());
            }
        }
    }
}
