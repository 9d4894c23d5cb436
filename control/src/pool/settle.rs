//! Decides what follows an attempt: the call is done, held, retried or given up.

use super::{
    AfterAttempt, AttemptId, Call, Chance, Exhaustion, Meta, Outcome, Permission, Pool,
    RefusalReason, Running, Timestamp, real, seconds,
};

/// What the budget must hold for one retry: a little less than 1, because five times 0.2 is not exactly 1.
const ONE_RETRY: f64 = 1.0 - 1e-9;

impl<T> Pool<T> {
    /// Settles an attempt that ended while its caller still waits. `committed` is `true` if bytes were sent to the
    /// caller.
    pub fn ended(
        &mut self,
        attempt: AttemptId,
        payload: T,
        outcome: Outcome,
        committed: bool,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> AfterAttempt<T> {
        let Some(running) = self.end_running(attempt) else {
            return AfterAttempt::Done(payload);
        };
        self.learn_lateness(&running, outcome, now);
        let last = matches!(outcome, Outcome::Success { .. }) || outcome.is_final();
        if !self.decides(&running, last || committed, outcome.is_refusal()) {
            return AfterAttempt::Doubled;
        }
        let meta = running.meta;
        match outcome {
            Outcome::Success { tokens } => {
                self.count_served(&running, tokens, now);
                AfterAttempt::Done(payload)
            }
            Outcome::Client | Outcome::Unusable | Outcome::Misconfigured | Outcome::Cancelled => {
                AfterAttempt::Done(payload)
            }
            _ if committed => AfterAttempt::Done(payload),
            Outcome::Quota { .. } => {
                AfterAttempt::Exhausted(payload, Exhaustion::Refused(RefusalReason::Quota))
            }
            Outcome::Fault | Outcome::Timeout => self.retry(meta, payload, now, chance),
            Outcome::Cold { .. }
            | Outcome::Absent { .. }
            | Outcome::Rate { .. }
            | Outcome::Limit => self.put_back(meta, payload, outcome, now, chance),
        }
    }

    /// Settles an attempt that succeeded and whose caller has the answer. Returns `false` if it is unknown.
    pub fn served(&mut self, attempt: AttemptId, tokens: Option<u32>, now: Timestamp) -> bool {
        let Some(running) = self.end_running(attempt) else {
            return false;
        };
        self.learn_lateness(&running, Outcome::Success { tokens }, now);
        if self.decides(&running, true, false) {
            self.count_served(&running, tokens, now);
        }
        true
    }

    fn count_served(&mut self, running: &Running, tokens: Option<u32>, now: Timestamp) {
        self.load.served(now);
        self.served += 1.0;
        self.hedging.served(running.hedge);
        self.settle_tokens(&running.meta, tokens, now);
        self.retries = (self.retries + self.grant.retry_ratio).min(self.settings.retry_cap);
        self.pay(now);
    }

    /// Replaces the reserved cost of a served call by its real cost, in the token bucket and in its tenant's service.
    fn settle_tokens(&mut self, meta: &Meta, output: Option<u32>, now: Timestamp) {
        let Some(output) = output else { return };
        self.output.observe(output);
        if meta.tokens == meta.fixed_tokens {
            return;
        }
        let real = meta.fixed_tokens.saturating_add(output);
        self.tokens
            .spend(f64::from(real) - f64::from(meta.tokens), now);
        self.queue.settle(meta.entry(), real);
    }

    /// Settles an attempt whose caller has left.
    pub fn released(&mut self, attempt: AttemptId, _now: Timestamp) {
        if let Some(running) = self.end_running(attempt) {
            self.decides(&running, true, false);
        }
    }

    fn end_running(&mut self, attempt: AttemptId) -> Option<Running> {
        let running = self.running.remove(&attempt)?;
        self.probes -= u32::from(running.probe);
        self.hedging.is_decided(running.sent, attempt);
        Some(running)
    }

    /// Puts a refused call back. A plain refusal, or one that asks for a shorter pause than that, holds it for an
    /// increasing time: `first * 2^(k-1) * U(1/2, 1)` after the k-th in a row, at most the longest hold. For other refusals
    /// the grant contains the time.
    fn put_back(
        &mut self,
        mut meta: Meta,
        payload: T,
        outcome: Outcome,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> AfterAttempt<T> {
        if meta.deadline <= now {
            return AfterAttempt::Exhausted(payload, Exhaustion::Refused(self.waiting_reason()));
        }
        // A loading answer of a lane that serves comes from one of several replicas.
        let open = self.grant.permission == Permission::Open;
        let is_away = matches!(outcome, Outcome::Cold { .. } | Outcome::Absent { .. });
        if meta.refuse_when_cold && !open && is_away {
            return AfterAttempt::Exhausted(payload, Exhaustion::Refused(RefusalReason::Cold));
        }
        meta.attempts -= 1;
        let mut until = None;
        let growth = f64::from(meta.refusals.min(20)).exp2() * (0.5 + 0.5 * chance.unit());
        let hold = seconds(self.settings.hold_first.as_secs_f64() * growth);
        let hold = hold.min(self.settings.hold_max);
        let is_held = match outcome {
            Outcome::Limit => true,
            Outcome::Cold { .. } | Outcome::Absent { .. } => open,
            // A backend that asks for a pause of no length does not ask to be called without end.
            Outcome::Rate { retry_after, .. } => retry_after.is_some_and(|asked| asked < hold),
            _ => false,
        };
        if is_held {
            meta.refusals = meta.refusals.saturating_add(1);
            until = Some(now.after(hold));
            self.held.insert(meta.id);
        }
        self.insert(Call { payload, meta }, until);
        AfterAttempt::Held(meta.id)
    }

    /// Schedules a retry with full jitter: `0.05 + U(0, 0.2 * 2^k)` seconds after the k-th attempt. A call for which
    /// the budget has no retry waits until successes have paid for one, at most until the time at which they are expected
    /// to have done so, if that is in time. Retries on credit are therefore never more frequent than `retry_ratio` times
    /// the delivered rate.
    fn retry(
        &mut self,
        mut meta: Meta,
        payload: T,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> AfterAttempt<T> {
        if meta.attempts >= self.settings.attempts_max {
            return AfterAttempt::Exhausted(payload, Exhaustion::Attempts);
        }
        let exponent = f64::from(meta.attempts.min(16));
        let at = now.after(seconds(0.05 + chance.unit() * 0.2 * exponent.exp2()));
        if at >= meta.gives_up() {
            return AfterAttempt::Exhausted(payload, Exhaustion::Deadline);
        }
        meta.refusals = 0;
        if self.retries >= ONE_RETRY && self.unpaid.is_empty() {
            self.retries = (self.retries - 1.0).max(0.0);
            self.insert(Call { payload, meta }, Some(at));
            return AfterAttempt::Retry { call: meta.id, at };
        }
        let Some(paid) = self.paid_at(now).map(|paid| paid.max(at)) else {
            return AfterAttempt::Exhausted(payload, Exhaustion::Budget);
        };
        if paid >= meta.gives_up() {
            return AfterAttempt::Exhausted(payload, Exhaustion::Budget);
        }
        self.unpaid.insert(meta.id, paid);
        self.insert(Call { payload, meta }, Some(paid));
        AfterAttempt::Retry {
            call: meta.id,
            at: paid,
        }
    }

    /// Predicts when future successes will have paid for one more retry; `None` while nothing is delivered.
    fn paid_at(&self, now: Timestamp) -> Option<Timestamp> {
        let income = self.grant.delivered_rate? * self.grant.retry_ratio;
        let missing = real(self.unpaid.len()) + 1.0 - self.retries;
        (income > 0.0).then(|| now.after(seconds(missing / income)))
    }

    /// Releases the calls that wait for the budget, the oldest first, as far as the budget allows.
    fn pay(&mut self, now: Timestamp) {
        while self.retries >= ONE_RETRY {
            let Some((id, at)) = self.unpaid.pop_first() else {
                return;
            };
            self.retries = (self.retries - 1.0).max(0.0);
            self.delayed.remove(&(at, id));
            self.delayed.insert((now, id));
        }
    }
}
