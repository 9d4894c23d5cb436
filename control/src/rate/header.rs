//! One quota in the headers of answers: the remaining units, the time of the reset, and the refill rate.
//!
//! An answer contains `limit`, `remaining` and `reset` as of the time `s` at which its call was sent. So `s + reset`
//! is a fixed point in time, and the units sent after `s` must be subtracted. This distinguishes two kinds of quota:
//!
//! ```text
//! window : `s + reset` stands still while calls are sent, and jumps by the window's length at its end
//! bucket : `s + reset` is when the bucket is full: each unit sent moves it by 1 / refill
//! rate   = 0.985 * max(limit / window or refill, left / min(time until reset, 60 s))
//! ```
//!
//! The remainder of a day's quota may be used within minutes, because a call that waits now must not wait for calls
//! that may never arrive. If a window is used up, calls wait until its end. No assumption is made about a window that
//! has not been seen to end.
//!
//! A quota that is used up and has no end in the future (its reset is over, cannot be read or is absent) is ignored:
//! no call could ever be sent, so no answer could correct it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::num::seconds;
use crate::{BucketGrant, BucketHint, Timestamp};

/// Share of a quota that is used, so that differences between clocks do not exceed it.
const MARGIN: f64 = 0.985;
/// The number of sends that are remembered until an answer covers them; older ones are considered covered.
const SENT_KEPT: usize = 4096;
/// A later reset is not a duration but a date or an error.
const RESET_MAX: Duration = Duration::from_hours(49);
/// The longest time over which the remaining units are spread, in seconds.
const SPREAD: f64 = 60.0;
/// A reset that is nearer than this is over before the next call can use it.
const NEAR: Duration = Duration::from_millis(50);
/// Shortest time in seconds for which a new window of unknown length is taken to last.
const UNTOLD: f64 = 1.0;
/// The number of units sent before a moving reset counts as a refill.
const UNITS_MIN: f64 = 3.0;
/// The number of units after which a refill is measured again.
const UNITS_MAX: f64 = 64.0;

/// One quota, from the headers of the most recent answer.
#[derive(Debug)]
pub(super) struct HeaderQuota {
    limit: f64,
    left: f64,
    /// When the call of that answer was sent.
    at: Timestamp,
    reset: Timestamp,
    /// The largest number of units that were left or had just been taken.
    full: f64,
    /// Length of the window in seconds, once one has been seen to end or was given in the headers.
    window: Option<f64>,
    /// The longest time until a reset that was seen, in seconds. A window is at least this long.
    longest: f64,
    /// Units per second of a bucket, once its reset was seen to move.
    refill: Option<f64>,
    /// Units sent while the reset did not move.
    standing: f64,
    /// The first position of a moving reset, and the units sent since.
    moving: Option<(Timestamp, f64)>,
    /// Units sent after `at`.
    sent: VecDeque<(Timestamp, f64)>,
}

/// Returns `true` if the values of a header are possible for a quota.
fn is_plausible(hint: &BucketHint) -> bool {
    let numbers = hint.limit.is_finite() && hint.remaining.is_finite();
    numbers && hint.limit >= 1.0 && hint.remaining >= 0.0
}

impl HeaderQuota {
    /// Creates a quota from the first answer with it. Returns `None` for impossible values.
    pub(super) fn new(hint: &BucketHint, sent: Timestamp) -> Option<Self> {
        let reset = hint.reset.filter(|reset| *reset <= RESET_MAX);
        let quota = is_plausible(hint).then(|| Self {
            limit: hint.limit,
            left: hint.remaining,
            at: sent,
            reset: sent.after(reset.unwrap_or(Duration::ZERO)),
            full: hint.remaining + 1.0,
            window: hint.window.map(|window| window.as_secs_f64()),
            longest: reset.unwrap_or_default().as_secs_f64().max(UNTOLD),
            refill: None,
            standing: 0.0,
            moving: None,
            sent: VecDeque::new(),
        });
        quota.filter(|quota| !quota.is_endless())
    }

    /// Returns `true` if the most recent answer reports the quota as used up, without an end in the future.
    pub(super) fn is_endless(&self) -> bool {
        let near = self.window.map_or(NEAR, |_| Duration::ZERO);
        self.left < 1.0 && self.refill.is_none() && self.reset <= self.at.after(near)
    }

    /// Returns `true` if an answer without the headers, to a call that was sent at `sent`, shows that the quota is no
    /// longer described, and it allows no further call.
    pub(super) fn is_abandoned(&self, sent: Timestamp) -> bool {
        let is_known = self.refill.is_some() || (self.window.is_some() && self.reset > self.at);
        let left = if self.reset <= self.at {
            self.left - self.sent_after(self.at)
        } else {
            self.full - self.sent_after(self.reset)
        };
        !is_known && sent >= self.reset && left < 1.0
    }

    /// Notes units that were sent.
    pub(super) fn spend(&mut self, units: f64, now: Timestamp) {
        if self.sent.len() >= SENT_KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back((now, units));
    }

    fn sent_after(&self, from: Timestamp) -> f64 {
        let after = self.sent.iter().rev().take_while(|entry| entry.0 > from);
        after.map(|entry| entry.1).sum()
    }

    /// Handles the answer to a call that was sent at `sent`. Answers to older calls than the most recent one are
    /// ignored.
    pub(super) fn learn(&mut self, hint: &BucketHint, sent: Timestamp) {
        if sent < self.at || !is_plausible(hint) {
            return;
        }
        let used = self.sent_after(self.at) - self.sent_after(sent);
        while self.sent.front().is_some_and(|entry| entry.0 <= sent) {
            self.sent.pop_front();
        }
        if let Some(span) = hint.reset.filter(|reset| *reset <= RESET_MAX) {
            self.longest = self.longest.max(span.as_secs_f64());
            self.move_reset(sent.after(span), span, used, sent);
        }
        if let Some(window) = hint.window {
            self.window = Some(window.as_secs_f64());
        }
        self.limit = hint.limit;
        self.left = hint.remaining;
        self.full = self.full.max(hint.remaining + 1.0).min(hint.limit);
        self.at = sent;
    }

    fn move_reset(&mut self, reset: Timestamp, span: Duration, used: f64, sent: Timestamp) {
        // Whole seconds are rounded.
        let rounding = if span.subsec_millis() == 0 { 1.0 } else { 0.0 };
        let slack = seconds(0.05 + rounding + 0.05 * span.as_secs_f64());
        let over = sent.after(slack) >= self.reset;
        if reset.since(self.reset) <= slack && self.reset.since(reset) <= slack {
            self.standing += used;
            self.moving = None;
        } else if over {
            let jump = reset.since(self.reset).as_secs_f64();
            // Without calls in between, more than one window may have passed.
            let watched = sent.since(self.at).as_secs_f64() < 0.5 * jump;
            if self.standing >= UNITS_MIN && watched {
                self.window = Some(jump);
                self.refill = None;
            }
            self.standing = 0.0;
            self.moving = None;
        } else {
            self.standing = 0.0;
            let (from, units) = self.moving.unwrap_or((self.reset, 0.0));
            let units = units + used;
            let moved = reset.since(from).as_secs_f64();
            if units >= UNITS_MIN && moved > 0.0 {
                self.refill = Some(units / moved);
                self.window = None;
            }
            self.moving = Some(if units >= UNITS_MAX {
                (reset, 0.0)
            } else {
                (from, units)
            });
        }
        self.reset = reset;
    }

    /// Returns the end of the current window and the units left in it.
    fn present(&self, now: Timestamp) -> (Timestamp, f64) {
        if now < self.reset || self.reset <= self.at {
            let gained = self.refill.unwrap_or(0.0) * now.since(self.at).as_secs_f64();
            let left = (self.left + gained).min(self.full.max(self.left));
            return (self.reset, left - self.sent_after(self.at));
        }
        let window = self.window.filter(|window| *window > 0.0);
        let window = window.unwrap_or(self.longest);
        let passed = (now.since(self.reset).as_secs_f64() / window).floor();
        let begun = self.reset.after(seconds(passed * window));
        let left = self.full - self.sent_after(begun);
        (begun.after(seconds(window)), left)
    }

    /// Returns the time until which no units are left, or `None` if some are left.
    pub(super) fn used_up(&self, now: Timestamp) -> Option<Timestamp> {
        let (end, left) = self.present(now);
        (left < 1.0 && self.refill.is_none() && now < end).then_some(end)
    }

    /// Returns the bucket that stays within the quota.
    pub(super) fn grant(&self, now: Timestamp) -> BucketGrant {
        let (end, left) = self.present(now);
        let known = self.window.filter(|window| *window > 0.0);
        let known = known.map(|window| self.limit / window).or(self.refill);
        let until = end.since(now).as_secs_f64();
        let by_time = left.max(0.0) / until.clamp(0.05, SPREAD);
        let rate = known.map_or(by_time, |known| known.max(by_time));
        BucketGrant {
            rate: (MARGIN * rate).max(0.001),
            burst: (0.1 * self.full).max(1.0),
            level_max: Some(left.max(0.0).floor()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    fn hint(limit: f64, remaining: f64, reset: f64) -> BucketHint {
        BucketHint {
            limit,
            remaining,
            reset: Some(seconds(reset)),
            window: None,
        }
    }

    /// Sends `rate` calls per second for `until` seconds, each answered `late` seconds after it was sent.
    fn drive(rate: f64, until: f64, answer: impl Fn(f64, f64) -> BucketHint) -> HeaderQuota {
        let mut quota = HeaderQuota::new(&answer(0.0, 1.0), at(0.0)).unwrap();
        let mut sent = 1.0;
        let mut time = 0.0;
        while time < until {
            time += 1.0 / rate;
            sent += 1.0;
            quota.spend(1.0, at(time));
            quota.learn(&answer(time, sent), at(time));
        }
        quota
    }

    #[test]
    fn windows_of_any_length_are_learned() {
        for window in [1.0, 6.0, 60.0, 3600.0] {
            let quota = drive(20.0 / window, 2.5 * window, |time, _| {
                let part = (time / window).fract();
                hint(
                    60.0,
                    59.0 - (20.0 * part).floor(),
                    window * (1.0 - part) + 0.001,
                )
            });
            let learned = quota.window.unwrap();
            assert!((learned / window - 1.0).abs() < 0.1, "{learned} {window}");
            let grant = quota.grant(at(2.5 * window));
            assert!(grant.rate * window > 55.0, "{grant:?}");
        }
    }

    #[test]
    fn a_bucket_is_told_by_its_moving_reset() {
        // 30 units, 5 per second; the header gives the limit per minute.
        let quota = drive(7.0, 12.0, |time, sent| {
            let level = (30.0 - sent + 5.0 * time).clamp(0.0, 30.0);
            hint(300.0, level.floor(), (30.0 - level) / 5.0 + 0.0005)
        });
        assert!((quota.refill.unwrap() - 5.0).abs() < 0.3, "{quota:?}");
        assert!((quota.grant(at(12.0)).rate - 5.0).abs() < 1.0);
        assert_eq!(quota.used_up(at(12.0)), None);
    }

    #[test]
    fn a_used_up_window_is_waited_out_and_older_answers_say_nothing() {
        let mut quota = HeaderQuota::new(&hint(10.0, 2.0, 6.0), at(1.0)).unwrap();
        quota.spend(1.0, at(1.5));
        quota.spend(1.0, at(1.6));
        assert_eq!(quota.used_up(at(2.0)), Some(at(7.0)));
        quota.learn(&hint(10.0, 9.0, 6.0), at(0.5));
        assert_eq!(quota.used_up(at(2.0)), Some(at(7.0)));
        assert_eq!(quota.used_up(at(7.0)), None);
    }

    #[test]
    fn what_cannot_be_is_ignored() {
        for (limit, remaining) in [
            (0.0, 0.0),
            (f64::NAN, 1.0),
            (10.0, -1.0),
            (f64::INFINITY, 1.0),
        ] {
            assert!(HeaderQuota::new(&hint(limit, remaining, 1.0), at(1.0)).is_none());
        }
        // An epoch instead of a duration.
        let epoch = |remaining: f64| BucketHint {
            reset: Some(Duration::from_hours(72)),
            ..hint(10.0, remaining, 0.0)
        };
        assert!(HeaderQuota::new(&epoch(0.0), at(1.0)).is_none());
        let quota = HeaderQuota::new(&epoch(5.0), at(1.0)).unwrap();
        assert_eq!(quota.used_up(at(2.0)), None);
    }

    #[test]
    fn a_quota_that_is_used_up_without_an_end_is_ignored() {
        let no_reset = BucketHint {
            reset: None,
            ..hint(10.0, 0.0, 0.0)
        };
        let window_over = BucketHint {
            window: Some(Duration::from_mins(1)),
            ..hint(10.0, 0.0, 0.0)
        };
        for hint in [
            hint(10.0, 0.0, 0.0),
            hint(10.0, 0.0, 0.02),
            no_reset,
            window_over,
        ] {
            assert!(HeaderQuota::new(&hint, at(1.0)).is_none(), "{hint:?}");
        }
        let mut quota = HeaderQuota::new(&hint(10.0, 1.0, 2.0), at(1.0)).unwrap();
        quota.learn(&no_reset, at(2.0));
        // The end that an earlier answer gave is still to come.
        assert!(!quota.is_endless());
        assert_eq!(quota.used_up(at(2.5)), Some(at(3.0)));
        quota.learn(&no_reset, at(4.0));
        assert!(quota.is_endless());
    }

    #[test]
    fn a_new_window_of_unknown_length_is_not_used_up_at_once() {
        // After a pause of ten seconds only the earlier grant is known.
        let quota = HeaderQuota::new(&hint(50.0, 0.0, 1.0), at(1.0)).unwrap();
        let mut quota = HeaderQuota {
            full: 50.0,
            ..quota
        };
        let grant = quota.grant(at(12.0));
        assert!(grant.rate <= 50.0 && grant.burst <= 5.0, "{grant:?}");
        for _ in 0..50 {
            quota.spend(1.0, at(12.1));
        }
        assert_eq!(quota.grant(at(12.2)).level_max, Some(0.0));
    }

    #[test]
    fn a_short_window_is_used_again_before_its_answers_come() {
        // One unit in each second; an answer takes three seconds.
        let mut quota = HeaderQuota::new(&hint(1.0, 0.0, 0.7), at(0.3)).unwrap();
        let mut sent = 0;
        for step in 0..100 {
            let now = at(3.35 + f64::from(step) * 0.1);
            let free = quota.used_up(now).is_none();
            if free && quota.grant(now).level_max == Some(1.0) {
                quota.spend(1.0, now);
                sent += 1;
            }
        }
        assert!((8..=11).contains(&sent), "{sent} in ten seconds");
    }

    #[test]
    fn a_quota_of_a_day_is_not_spread_over_the_day() {
        let quota = HeaderQuota::new(&hint(3000.0, 2999.0, 86_400.0), at(0.0)).unwrap();
        let rate = quota.grant(at(1.0)).rate;
        assert!(rate > 40.0, "{rate} calls per second of 3000 that are left");
    }
}
