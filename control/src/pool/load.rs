//! Whether more calls arrive than are served, and how long their answers are.

use std::time::Duration;

use super::quantile::Quantile;
use crate::Timestamp;

/// Time constant of the rates.
const MEMORY: Duration = Duration::from_secs(10);
/// The ratio of arrivals to completions above which the backlog does not drain.
const EXCESS: f64 = 1.1;

/// A rate per second with exponential forgetting.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    rate: f64,
    at: Timestamp,
}

impl Pace {
    fn now(self, now: Timestamp) -> f64 {
        let silent = now.since(self.at).as_secs_f64() / MEMORY.as_secs_f64();
        self.rate * (-silent).exp()
    }

    fn count(&mut self, now: Timestamp) {
        self.rate = self.now(now) + 1.0 / MEMORY.as_secs_f64();
        self.at = now;
    }
}

/// The rates of calls offered and of calls served.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    offered: Pace,
    served: Pace,
}

impl Load {
    pub(super) fn arrived(&mut self, now: Timestamp) {
        self.offered.count(now);
    }

    pub(super) fn served(&mut self, now: Timestamp) {
        self.served.count(now);
    }

    /// Returns `true` if clearly more calls arrive than are served.
    pub(super) fn exceeds(&self, now: Timestamp) -> bool {
        self.offered.now(now) > EXCESS * self.served.now(now)
    }
}

/// The number of periods for which a rate is kept.
const SPELLS: usize = 4;
/// Length of a period.
const SPELL: Duration = Duration::from_secs(30);

/// The best rate delivered in the last minutes, because capacity that disappeared often returns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecentPeakRate {
    best: [f64; SPELLS],
    ends: Timestamp,
}

impl RecentPeakRate {
    /// Notes the current rate, per second.
    pub(super) fn note(&mut self, rate: f64, now: Timestamp) {
        for _ in 0..SPELLS {
            if now < self.ends {
                break;
            }
            self.best.rotate_right(1);
            self.best[0] = 0.0;
            self.ends = self.ends.after(SPELL);
        }
        if now >= self.ends {
            self.ends = now.after(SPELL);
        }
        self.best[0] = self.best[0].max(rate);
    }

    /// Returns the best rate, per second.
    pub(super) fn rate(&self) -> f64 {
        self.best.iter().copied().fold(0.0, f64::max)
    }
}

/// The number of answers after which their length is used.
const SEEN_MIN: usize = 20;
/// The quantile of the output tokens: one answer in ten has more.
const LONG: f64 = 0.9;

/// The learned ninetieth percentile of the output tokens.
#[derive(Clone, Debug)]
pub(super) struct OutputLength(Quantile);

impl Default for OutputLength {
    fn default() -> Self {
        Self(Quantile::new(LONG, SEEN_MIN))
    }
}

impl OutputLength {
    /// Adds one answer.
    pub(super) fn observe(&mut self, tokens: u32) {
        self.0.observe(f64::from(tokens.max(1)));
    }

    /// Returns the tokens to reserve for a call of at most `most` tokens, of which `output` are the bound of its
    /// answer: `prompt + min(output, p90)`.
    pub(super) fn reserve(&self, most: u32, output: u32) -> u32 {
        let Some(high) = self.0.value() else {
            return most;
        };
        let expected = crate::num::calls(high);
        most.saturating_sub(output.saturating_sub(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_in_ten_is_longer_than_the_reserve() {
        let mut chance = fastrand::Rng::with_seed(3);
        let mut length = OutputLength::default();
        assert_eq!(length.reserve(1100, 1000), 1100, "nothing is known");
        for _ in 0..2000 {
            length.observe(chance.u32(0..200));
        }
        let reserve = length.reserve(1100, 1000);
        assert!((260..=300).contains(&reserve), "{reserve}");
        assert_eq!(length.reserve(150, 50), 150, "the bound is the lesser");
    }

    #[test]
    fn a_backlog_that_does_not_drain_is_overload() {
        let mut load = Load::default();
        for tenth in 0..300_u32 {
            let now = Timestamp::from_secs_f64(f64::from(tenth) / 10.0);
            load.arrived(now);
            if tenth % 2 == 0 {
                load.served(now);
            }
        }
        assert!(load.exceeds(Timestamp::from_secs_f64(30.0)));
        for tenth in 300..600_u32 {
            let now = Timestamp::from_secs_f64(f64::from(tenth) / 10.0);
            load.arrived(now);
            load.served(now);
        }
        assert!(!load.exceeds(Timestamp::from_secs_f64(60.0)));
    }

    #[test]
    fn the_best_rate_is_kept_for_two_minutes() {
        let mut peak = RecentPeakRate::default();
        peak.note(20.0, Timestamp::from_secs_f64(1000.0));
        let mut until = 0.0;
        for second in 1001..1300_u32 {
            let now = f64::from(second);
            peak.note(5.0, Timestamp::from_secs_f64(now));
            if peak.rate() > 19.0 {
                until = now;
            }
        }
        assert!((1089.0..=1120.0).contains(&until), "{until}");
        assert!((peak.rate() - 5.0).abs() < 1e-9, "{peak:?}");
        peak.note(1.0, Timestamp::from_secs_f64(9000.0));
        assert!((peak.rate() - 1.0).abs() < 1e-9, "{peak:?}");
    }
}
