//! The calls of a load and their times: Poisson arrivals, or those of a scenario.

use std::time::Duration;

use crate::sim::script::Script;

/// The largest number of calls of one load.
const CALLS_MAX: f64 = 1_000_000.0;

/// A call to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its number.
    pub id: usize,
    /// Its due time, from the start.
    pub at: Duration,
}

/// The plan of a load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The calls, in order of time.
    pub calls: Vec<Offered>,
    /// The deadline of each caller, sent in `x-kebne-deadline-ms`.
    pub deadline: Duration,
    /// Whether answers are streamed.
    pub stream: bool,
    /// The largest number of requested tokens; `None` to send no bound.
    pub max_tokens: Option<u32>,
}

/// The reason why a plan is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A rate is not a positive number.
    #[error("`--rate` and `--rise-to` must be more than 0 and at most 100000 calls per second")]
    Rate,
    /// A time is zero.
    #[error("`--duration` and `--deadline` must be more than 0")]
    Time,
    /// Too many calls.
    #[error("that is more than a million calls; lower `--rate` or `--duration`")]
    Size,
}

impl Plan {
    /// Draws Poisson arrivals whose rate changes linearly from `rate` to `rise_to` calls per second.
    ///
    /// # Errors
    /// Fails if a rate or a time is out of range, or a million calls would be exceeded.
    pub fn poisson(
        (rate, rise_to): (f64, f64),
        duration: Duration,
        deadline: Duration,
        seed: u64,
    ) -> Result<Self, PlanError> {
        let allowed = |rate: f64| rate > 0.0 && rate <= 100_000.0;
        if !allowed(rate) || !allowed(rise_to) {
            return Err(PlanError::Rate);
        }
        if duration.is_zero() || deadline.is_zero() {
            return Err(PlanError::Time);
        }
        let length = duration.as_secs_f64();
        if f64::midpoint(rate, rise_to) * length > CALLS_MAX {
            return Err(PlanError::Size);
        }
        let mut dice = fastrand::Rng::with_seed(seed);
        let peak = rate.max(rise_to);
        let mut calls = Vec::new();
        let mut at = 0.0;
        loop {
            // Thinning: arrivals at the peak rate, of which each is kept with a probability equal to the current share
            // of that rate.
            at += -(1.0 - dice.f64()).ln() / peak;
            if at >= length {
                break;
            }
            if dice.f64() * peak < rate + (rise_to - rate) * at / length {
                let id = calls.len();
                let at = Duration::from_secs_f64(at);
                calls.push(Offered { id, at });
            }
        }
        Ok(Self {
            calls,
            deadline,
            stream: false,
            max_tokens: None,
        })
    }

    /// Creates the plan with the calls of a scenario.
    pub fn script(script: &Script) -> Self {
        let calls = script.calls().map(|call| Offered {
            id: call.id,
            at: call.at,
        });
        Self {
            calls: calls.collect(),
            deadline: script.deadline(),
            stream: script.streams(),
            max_tokens: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rates: (f64, f64), seconds: u64) -> Result<Plan, PlanError> {
        let duration = Duration::from_secs(seconds);
        Plan::poisson(rates, duration, Duration::from_secs(1), 3)
    }

    #[test]
    fn arrivals_have_the_rate_asked_for_and_rise_with_it() {
        let flat = plan((50.0, 50.0), 100).unwrap().calls;
        assert!((4700..5300).contains(&flat.len()), "{}", flat.len());
        let rising = plan((10.0, 90.0), 100).unwrap().calls;
        let half = Duration::from_secs(50);
        let early = rising.iter().filter(|call| call.at < half).count();
        // 30 per second on average in the first half, 70 in the second.
        let percent = 100 * early / rising.len();
        assert!((26..35).contains(&percent), "{percent}");
    }

    #[test]
    fn what_cannot_be_planned_is_said_by_its_option() {
        assert_eq!(plan((0.0, 1.0), 1).unwrap_err(), PlanError::Rate);
        assert_eq!(plan((1.0, f64::NAN), 1).unwrap_err(), PlanError::Rate);
        assert_eq!(plan((1.0, 1.0), 0).unwrap_err(), PlanError::Time);
        assert_eq!(plan((1e5, 1e5), 60).unwrap_err(), PlanError::Size);
    }
}
