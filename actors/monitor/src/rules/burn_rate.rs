//! The burn rate of the success objective.
//!
//! ```text
//! error ratio = failed / (failed + succeeded)
//! burn rate   = error ratio / (1 - objective)
//! ```
//!
//! A burn rate of 1 uses up the error budget of a period (30 days) exactly at its end. An alert needs the rate over a long
//! window, so that it is significant, and over a short one, so that it ends soon after its cause. 14.4 over an hour uses 2 %
//! of the budget in that hour, 6 over six hours 5 % in those. Source: The Site Reliability Workbook, chapter 5, "Alerting on
//! SLOs", "6: Multiwindow, Multi-Burn-Rate Alerts", table 5-8.

use std::time::Duration;

use super::{last_error, of_lane, spoken};
use crate::{
    LaneSample, Rule, RuleSettings,
    desk::{Finding, Level},
    history::{History, real},
};

/// One pair of windows with its rate.
struct Windows {
    rule: Rule,
    rate: f64,
    long: Duration,
    short: Duration,
}

const FAST: Windows = Windows {
    rule: Rule::BurnRateFast,
    rate: 14.4,
    long: Duration::from_hours(1),
    short: Duration::from_mins(5),
};
const SLOW: Windows = Windows {
    rule: Rule::BurnRateSlow,
    rate: 6.0,
    long: Duration::from_hours(6),
    short: Duration::from_mins(30),
};
/// An open alert is kept while the rate of the short window is above this part of its threshold.
const HOLDS_ABOVE: f64 = 0.5;
/// Time between two kept counts: a tenth of the shortest window.
const STEP: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct BurnRate {
    /// Succeeded and failed calls.
    history: History<2>,
}

impl Default for BurnRate {
    fn default() -> Self {
        Self {
            history: History::new(STEP, SLOW.long),
        }
    }
}

impl BurnRate {
    pub(super) fn look(
        &mut self,
        at: Duration,
        lane: &LaneSample,
        settings: &RuleSettings,
    ) -> [Option<Finding>; 2] {
        let counts = [lane.succeeded, lane.failed];
        self.history.note(at, counts);
        let fast = self.of_windows(&FAST, at, lane, settings);
        let mut slow = self.of_windows(&SLOW, at, lane, settings);
        // What burns fast burns slowly too; one new alert is enough.
        if fast
            .as_ref()
            .is_some_and(|fast| fast.level == Level::Firing)
            && let Some(slow) = &mut slow
        {
            slow.level = Level::Holding;
        }
        [fast, slow]
    }

    fn of_windows(
        &self,
        windows: &Windows,
        at: Duration,
        lane: &LaneSample,
        settings: &RuleSettings,
    ) -> Option<Finding> {
        let counts = [lane.succeeded, lane.failed];
        let budget = 1.0 - settings.objective;
        let grown = |span| self.history.growth(at, counts, span);
        let rate = |[succeeded, failed]: [u64; 2]| {
            let all = real(succeeded.saturating_add(failed));
            if all > 0.0 {
                real(failed) / all / budget
            } else {
                0.0
            }
        };
        let short = grown(windows.short);
        let (short_rate, long_rate) = (rate(short), rate(grown(windows.long)));
        let [succeeded, failed] = short;
        let is_enough = failed >= settings.failures_min;
        let level = if short_rate >= windows.rate && long_rate >= windows.rate && is_enough {
            Level::Firing
        } else if short_rate >= windows.rate * HOLDS_ABOVE {
            Level::Holding
        } else {
            return None;
        };
        let (name, all) = (&lane.name, succeeded + failed);
        let (span, objective) = (spoken(windows.short), settings.objective * 100.0);
        let sentence = format!(
            "{failed} of {all} calls that `{name}` admitted in the last {span} failed; the objective is that {objective} % \
             succeed.{}",
            last_error(lane)
        );
        Some(of_lane(windows.rule, lane, level, sentence))
    }
}
