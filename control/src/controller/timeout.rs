//! The time that one attempt may take: more than the setting while a slow tail is proved.
//!
//! Owns the timeout in force. A timeout shorter than a backend's slow tail fails calls that no limit can save:
//! timeouts while the typical call is fast are a tail, not a queue. A longer timeout is kept only while the calls that
//! exceed the old one succeed. It must never change the limit.

use std::time::Duration;

use crate::num::seconds;
use crate::verdict::VerdictKind;
use crate::{Timestamp, Verdict};

/// Weight of one attempt in the shares and in the typical success; two seconds to a minute of traffic.
const WEIGHT: f64 = 0.02;
/// The number of attempts between two changes.
const LOOK: u32 = 40;
/// Share of timeouts above which they are not random.
const SHARE_MIN: f64 = 0.04;
/// A backend that answers less than half of the calls in time is in trouble and does not just have a slow tail.
const SHARE_MAX: f64 = 0.5;
/// The number of timeouts in a row after which the backend is considered unavailable, and the counts say nothing about
/// a tail.
const GONE: u32 = 8;
/// The typical success must be below this share of the timeout for the timeouts to be a tail.
const TYPICAL: f64 = 0.4;
/// The factor of one raise, and the largest total factor.
const STEP: f64 = 1.3;
const MOST: f64 = 3.0;
/// The raise above which the calls that exceed the old timeout are assessed; below it, too few of a tail can succeed.
const JUDGED: f64 = 1.6;
/// The number of calls that exceed the old timeout before they are assessed, and the share that must succeed.
const PAST_MIN: u32 = 12;
const PAST_SHARE: f64 = 0.3;
/// The time for which an unsuccessful raise is not repeated.
const BLOCK: Duration = Duration::from_mins(5);

/// The end of an attempt that matters for the timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Served, or its first part arrived.
    Served,
    /// Not answered.
    Timeout,
}

/// The timeout in force and the counts behind it.
#[derive(Debug)]
pub(super) struct AdaptiveTimeout {
    base: Duration,
    factor: f64,
    /// Mean of the logarithm of the time of a success.
    typical: Option<f64>,
    /// Share of timeouts.
    late: f64,
    seen: u32,
    in_row: u32,
    /// The number of calls that took longer than the base and succeeded, and the number of all that took longer.
    past: (u32, u32),
    blocked_until: Timestamp,
}

impl AdaptiveTimeout {
    /// Creates a timeout equal to that of the settings.
    pub(super) fn new(base: Duration) -> Self {
        Self {
            base,
            factor: 1.0,
            typical: None,
            late: 0.0,
            seen: 0,
            in_row: 0,
            past: (0, 0),
            blocked_until: Timestamp::ZERO,
        }
    }

    /// Returns the timeout in force.
    pub(super) fn timeout(&self) -> Duration {
        if self.factor > 1.0 {
            self.base.mul_f64(self.factor)
        } else {
            self.base
        }
    }

    /// Observes one attempt that took `took`.
    pub(super) fn observe(
        &mut self,
        answer: Answer,
        took: Duration,
        now: Timestamp,
    ) -> Option<Verdict> {
        let served = answer == Answer::Served;
        if !served && took < self.base.mul_f64(0.95) {
            // Another timeout applied: the caller's deadline, or a shorter one of its own.
            return None;
        }
        self.seen = self.seen.saturating_add(1);
        let late = f64::from(u8::from(!served));
        self.late += WEIGHT * (late - self.late);
        self.in_row = if served { 0 } else { self.in_row + 1 };
        if self.in_row >= GONE {
            (self.late, self.seen, self.in_row) = (0.0, 0, 0);
            return None;
        }
        if served {
            let log = took.as_secs_f64().max(1e-6).ln();
            let typical = *self.typical.get_or_insert(log);
            self.typical = Some(typical + WEIGHT * (log - typical));
        }
        if self.factor >= JUDGED && took > self.base {
            self.past.0 += u32::from(served);
            self.past.1 += 1;
        }
        self.decide(served, now)
    }

    /// Decides after a success only: while nothing is answered, the backend may be unavailable.
    fn decide(&mut self, served: bool, now: Timestamp) -> Option<Verdict> {
        if self.past.1 >= PAST_MIN {
            if f64::from(self.past.0) < PAST_SHARE * f64::from(self.past.1) {
                self.blocked_until = now.after(BLOCK);
                return Some(self.change(1.0, "past the old timeout few succeed"));
            }
            // The next calls are assessed anew, because the tail may end.
            self.past = (0, 0);
        }
        let typical = seconds(self.typical?.exp());
        let tail = served
            && self.late > SHARE_MIN
            && self.late < SHARE_MAX
            && typical < self.timeout().mul_f64(TYPICAL);
        if !tail || self.seen < LOOK || self.factor >= MOST || now < self.blocked_until {
            return None;
        }
        let raised = (self.factor * STEP).min(MOST);
        Some(self.change(raised, "timeouts are a slow tail"))
    }

    fn change(&mut self, factor: f64, result: &'static str) -> Verdict {
        let from = self.timeout().as_secs_f64();
        self.factor = factor;
        self.seen = 0;
        self.late = 0.0;
        self.past = (0, 0);
        Verdict {
            kind: VerdictKind::Timeout,
            from,
            to: self.timeout().as_secs_f64(),
            elasticity: None,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(2);

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    /// One call in five is slow and needs `slow`; the others are fast.
    fn serve(timeout: &mut AdaptiveTimeout, slow: Duration, calls: u32, now: f64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for number in 0..calls {
            let needs = if number % 5 == 0 {
                slow
            } else {
                Duration::from_millis(300)
            };
            let answer = if needs <= timeout.timeout() {
                Answer::Served
            } else {
                Answer::Timeout
            };
            let took = needs.min(timeout.timeout());
            verdicts.extend(timeout.observe(answer, took, at(now)));
        }
        verdicts
    }

    #[test]
    fn a_slow_tail_raises_the_timeout_until_it_is_in_reach() {
        let mut timeout = AdaptiveTimeout::new(BASE);
        let verdicts = serve(&mut timeout, Duration::from_secs(3), 400, 1.0);
        assert!((timeout.timeout().as_secs_f64() - 3.38).abs() < 1e-6);
        assert_eq!(verdicts.len(), 2, "{verdicts:?}");
    }

    #[test]
    fn a_raise_that_does_not_pay_is_undone_and_blocked() {
        let mut timeout = AdaptiveTimeout::new(BASE);
        serve(&mut timeout, Duration::from_mins(1), 2000, 1.0);
        assert_eq!(timeout.timeout(), BASE);
        assert!(serve(&mut timeout, Duration::from_mins(1), 500, 200.0).is_empty());
        serve(&mut timeout, Duration::from_mins(1), 100, 302.0);
        assert!(timeout.timeout() > BASE);
        assert!(timeout.timeout() <= BASE * 3);
    }

    #[test]
    fn a_queue_and_an_outage_are_no_slow_tail() {
        let mut timeout = AdaptiveTimeout::new(BASE);
        for number in 0..400 {
            let served = number % 10 != 0;
            let (answer, took) = if served {
                (Answer::Served, Duration::from_millis(1600))
            } else {
                (Answer::Timeout, BASE)
            };
            assert_eq!(timeout.observe(answer, took, at(1.0)), None);
        }
        let mut timeout = AdaptiveTimeout::new(BASE);
        serve(&mut timeout, Duration::from_secs(1), 100, 1.0);
        for _ in 0..100 {
            timeout.observe(Answer::Timeout, BASE, at(2.0));
        }
        assert_eq!(timeout.timeout(), BASE);
    }
}
