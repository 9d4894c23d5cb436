//! A lane compared with its own history: the times of its answers, and the tokens and the cost of its calls.
//!
//! The usual value is a mean of logarithms over the time in which the lane served: of all of it at first, then of about the
//! last hour. What is unusual enters it eight times more slowly, so that it becomes usual after some hours only.

use std::time::Duration;

use super::View;
use crate::{
    LaneSample, Phase, Rule, RuleSettings, Times, UsualValue,
    desk::{Finding, Level},
    history::real,
    spoken::spoken,
};

/// The time over which the usual value is a mean.
const MEMORY: Duration = Duration::from_hours(1);
/// How much more slowly an unusual value is learned.
const DOUBT: f64 = 8.0;
/// Time without calls that counts as history between two calls.
const GAP_MAX: Duration = Duration::from_secs(10);
/// Time without calls after which what was unusual only keeps an open alert, and after which it is forgotten: an alert about a
/// lane with a call now and then must not come and go.
const FRESH: Duration = Duration::from_mins(1);
const FORGOTTEN: Duration = Duration::from_mins(15);
/// Calls that make a history, and unusual calls that make a finding.
const KNOWN_CALLS: u64 = 100;
const UNUSUAL_CALLS: u64 = 20;
/// The smallest differences of the time to the first token, which depends more on the load of the server, and of the time of a
/// whole answer that are reported: below them, the gateway's own machine may be the cause.
const LATER_MIN: Duration = Duration::from_millis(200);
const SLOWER_MIN: Duration = Duration::from_millis(50);
/// Weight of one call in the mean of its tokens, and of its cost.
const PER_CALL_WEIGHT: f64 = 0.1;

/// The usual value of one number.
#[derive(Debug, Default)]
struct Usual {
    log: Option<f64>,
    known: Duration,
    /// The calls that it was learned from.
    learned_from: u64,
    /// All calls at the last value; `None` before the first one.
    calls: Option<u64>,
    at: Duration,
    /// Since when the value is unusual, and the calls since then.
    unusual_since: Option<Duration>,
    unusual_calls: u64,
    level: Option<Level>,
}

impl Usual {
    /// Creates a value from what was learned earlier.
    fn of(earlier: Option<UsualValue>) -> Self {
        let Some(earlier) = earlier.filter(UsualValue::is_plausible) else {
            return Self::default();
        };
        Self {
            log: Some(earlier.value.ln()),
            known: Duration::try_from_secs_f64(earlier.seconds).unwrap_or_default(),
            learned_from: earlier.calls,
            ..Self::default()
        }
    }

    /// Returns what is known, for later.
    fn learned(&self) -> Option<UsualValue> {
        Some(UsualValue {
            value: self.log?.exp(),
            seconds: self.known.as_secs_f64(),
            calls: self.learned_from,
        })
    }

    /// Compares a value, given as its logarithm, with the usual one; `calls` counts all calls so far.
    fn compare(
        &mut self,
        at: Duration,
        log: f64,
        calls: u64,
        settings: &RuleSettings,
    ) -> Option<Level> {
        let new = calls.saturating_sub(*self.calls.get_or_insert(calls));
        if new == 0 {
            return self.without_calls(at);
        }
        let passed = at.saturating_sub(self.at).min(GAP_MAX);
        (self.at, self.calls) = (at, Some(calls));
        self.learned_from = self.learned_from.saturating_add(new);
        let usual = *self.log.get_or_insert(log);
        self.known = self.known.saturating_add(passed);
        let is_known = self.known >= settings.history_min.0 && self.learned_from >= KNOWN_CALLS;
        let (above, threshold) = (log - usual, settings.anomaly_factor.ln());
        let is_unusual = is_known && above >= threshold / 2.0;
        let memory = self.known.clamp(GAP_MAX, MEMORY).as_secs_f64();
        let weight = passed.as_secs_f64() / memory / if is_unusual { DOUBT } else { 1.0 };
        self.log = Some(usual + weight.min(1.0) * above);
        if is_known && above >= threshold {
            self.unusual_since.get_or_insert(at);
            self.unusual_calls = self.unusual_calls.saturating_add(new);
        } else {
            (self.unusual_since, self.unusual_calls) = (None, 0);
        }
        let lasts = self.unusual_since.map(|since| at.saturating_sub(since));
        let is_lasting = lasts.is_some_and(|lasts| lasts >= settings.anomaly_for.0);
        self.level = if is_lasting && self.unusual_calls >= UNUSUAL_CALLS {
            Some(Level::Firing)
        } else {
            is_unusual.then_some(Level::Holding)
        };
        self.level
    }

    /// Returns what is known while no calls end.
    fn without_calls(&mut self, at: Duration) -> Option<Level> {
        let quiet = at.saturating_sub(self.at);
        if quiet >= FORGOTTEN {
            (self.unusual_since, self.unusual_calls, self.level) = (None, 0, None);
        } else if quiet >= FRESH {
            return self.level.map(|_| Level::Holding);
        }
        self.level
    }

    /// Returns the usual value.
    fn value(&self) -> f64 {
        self.log.unwrap_or_default().exp()
    }
}

/// A lane is slower than it was: its answers begin later, or take longer as a whole.
#[derive(Debug, Default)]
pub(super) struct Slower {
    first_token: Usual,
    whole: Usual,
}

impl Slower {
    pub(super) fn with_usual(first_token: Option<UsualValue>, whole: Option<UsualValue>) -> Self {
        Self {
            first_token: Usual::of(first_token),
            whole: Usual::of(whole),
        }
    }

    /// Returns the usual time to the first token and that of a whole answer.
    pub(super) fn usual(&self) -> [Option<UsualValue>; 2] {
        [self.first_token.learned(), self.whole.learned()]
    }

    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let lane = view.lane;
        let first_token = slower(&mut self.first_token, lane.first_token, LATER_MIN, view);
        let whole = slower(&mut self.whole, lane.whole, SLOWER_MIN, view);
        let found = [whole, first_token].into_iter().flatten();
        let level = found.map(|slow| slow.level).min()?;
        let at_least = |slow: Option<Slow>| slow.filter(|slow| slow.level == level);
        let name = &lane.name;
        let (what, factors) = match (at_least(whole), at_least(first_token)) {
            (Some(whole), Some(first)) => (
                format!(
                    "took about {} and began after about {}",
                    spoken(whole.last),
                    spoken(first.last)
                ),
                format!("{:.1} and {:.1}", whole.factor, first.factor),
            ),
            (Some(whole), None) => (
                format!("took about {}", spoken(whole.last)),
                format!("{:.1}", whole.factor),
            ),
            (None, Some(first)) => (
                format!("began after about {}", spoken(first.last)),
                format!("{:.1}", first.factor),
            ),
            (None, None) => return None,
        };
        let sentence = format!(
            "The last answers of `{name}` {what}, {factors} times as long as answers of the same kind usually do there."
        );
        Some(view.finding(Rule::Slower, level, sentence))
    }
}

/// A time that is longer than usual.
#[derive(Clone, Copy, Debug)]
struct Slow {
    level: Level,
    last: Duration,
    factor: f64,
}

/// Compares one time of a lane with what is usual.
fn slower(
    usual: &mut Usual,
    times: Option<Times>,
    least: Duration,
    view: &View<'_>,
) -> Option<Slow> {
    let View {
        at, lane, settings, ..
    } = *view;
    let times = times?;
    let now = times.comparable;
    // The first calls after a load are slow at many servers.
    let level = if lane.phase == Phase::Serving {
        let log = now.as_secs_f64().max(1e-6).ln();
        usual.compare(at, log, lane.succeeded, settings)?
    } else {
        usual.without_calls(at)?
    };
    let usual = usual.value();
    let factor = now.as_secs_f64() / usual;
    // The difference that a caller sees.
    let more = times.last.mul_f64((1.0 - 1.0 / factor).clamp(0.0, 1.0));
    (more >= least).then_some(Slow {
        level,
        last: times.last,
        factor,
    })
}

/// What is compared of each call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    /// Its tokens.
    Tokens,
    /// Its cost.
    Cost,
}

impl Measure {
    fn rule(self) -> Rule {
        match self {
            Self::Tokens => Rule::TokensUnusual,
            Self::Cost => Rule::CostUnusual,
        }
    }

    /// Returns the sum over all calls so far whose measure is known, and the number of these calls.
    fn sums(self, lane: &LaneSample) -> (u64, u64) {
        match self {
            Self::Tokens => (lane.tokens, lane.metered),
            Self::Cost => (lane.cost_nano, lane.priced),
        }
    }

    /// Returns the sentence about calls that have the mean `now` and usually have `usual`.
    fn sentence(self, view: &View<'_>, now: f64, usual: f64) -> String {
        let (name, currency) = (&view.lane.name, view.currency);
        match self {
            Self::Tokens => format!(
                "The last calls to `{name}` used about {now:.0} tokens each; calls usually use {usual:.0} there."
            ),
            Self::Cost => {
                let (now, usual) = (now / 1e9, usual / 1e9);
                format!(
                    "The last calls to `{name}` cost about {now:.4} {currency} each; calls usually cost {usual:.4} {currency} there."
                )
            }
        }
    }
}

/// What a call of a lane uses on average, compared with what it usually does.
#[derive(Debug)]
pub(super) struct PerCall {
    measure: Measure,
    usual: Usual,
    mean: Option<f64>,
    /// The sum and the calls at the last sample.
    last: Option<(u64, u64)>,
}

impl PerCall {
    pub(super) fn new(measure: Measure, earlier: Option<UsualValue>) -> Self {
        Self {
            measure,
            usual: Usual::of(earlier),
            mean: None,
            last: None,
        }
    }

    pub(super) fn usual(&self) -> Option<UsualValue> {
        self.usual.learned()
    }

    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let (sum, calls) = self.measure.sums(view.lane);
        let (sum_then, calls_then) = self.last.replace((sum, calls))?;
        let added = sum.saturating_sub(sum_then);
        let new = calls.saturating_sub(calls_then);
        if added > 0 && new > 0 {
            let per_call = real(added) / real(new);
            let kept = (1.0 - PER_CALL_WEIGHT).powi(i32::try_from(new).unwrap_or(i32::MAX));
            let mean = self.mean.unwrap_or(per_call);
            self.mean = Some(kept * mean + (1.0 - kept) * per_call);
        }
        let mean = self.mean?;
        let log = mean.max(1.0).ln();
        let level = self.usual.compare(view.at, log, calls, view.settings)?;
        let sentence = self.measure.sentence(view, mean, self.usual.value());
        Some(view.finding(self.measure.rule(), level, sentence))
    }
}
