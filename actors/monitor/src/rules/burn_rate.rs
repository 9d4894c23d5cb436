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

use std::{sync::Arc, time::Duration};

use super::View;
use crate::{
    ModelSample, Phase, Rule, RuleSettings, Sample,
    desk::{Finding, Level},
    history::{History, real},
    rule::text::ONE_MODEL_FAILS,
    shares::Shares,
    spoken::{percent, spoken},
};

/// One pair of windows with its rate.
struct Windows {
    /// The rules of a lane and of a model.
    rules: [Rule; 2],
    rate: f64,
    long: Duration,
    short: Duration,
}

const FAST: Windows = Windows {
    rules: [Rule::BurnRateFast, Rule::ModelBurnRateFast],
    rate: 14.4,
    long: Duration::from_hours(1),
    short: Duration::from_mins(5),
};
const SLOW: Windows = Windows {
    rules: [Rule::BurnRateSlow, Rule::ModelBurnRateSlow],
    rate: 6.0,
    long: Duration::from_hours(6),
    short: Duration::from_mins(30),
};
/// An open alert is kept while the rate of the short window is above this part of its threshold.
const HOLDS_ABOVE: f64 = 0.5;
/// Time between two kept counts: a tenth of the shortest window.
const STEP: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct BurnRate {
    /// Succeeded and failed calls.
    history: History<2>,
    /// The failed calls by what else they have in common: for a lane their model and reason, for a model their lane and reason.
    causes: Shares<Cause>,
}

/// A model or a lane, and the reason code.
type Cause = (Arc<str>, &'static str);
/// The share of the failures of a lane from which one model is their cause.
const NEARLY_ALL: f64 = 0.9;
/// The causes that a sentence names.
const NAMED: usize = 2;

impl Default for BurnRate {
    fn default() -> Self {
        Self {
            history: History::new(STEP, SLOW.long),
            causes: Shares::new(STEP, SLOW.short),
        }
    }
}

/// What a sample has of the calls that are judged.
struct Calls<'a> {
    /// The index of the rule among [`Windows::rules`].
    kind: usize,
    subject: &'a Arc<str>,
    /// Whose calls they are, as a part of a sentence.
    whose: String,
    succeeded: u64,
    failed: u64,
    causes: Vec<(Cause, u64)>,
    last_error: String,
    /// The models that the lane serves.
    models: usize,
}

impl Calls<'_> {
    /// Returns the model of nearly all failures of a lane that serves others too.
    fn only_model(&self, causes: &[(Cause, u64)]) -> Option<Arc<str>> {
        let ((most, _), _) = causes.first()?;
        let sum: u64 = causes.iter().map(|(_, count)| count).sum();
        let of_it = causes.iter().filter(|((model, _), _)| model == most);
        let of_it: u64 = of_it.map(|(_, count)| count).sum();
        let is_only = self.models > 1 && real(of_it) >= NEARLY_ALL * real(sum);
        is_only.then(|| Arc::clone(most))
    }
}

impl BurnRate {
    /// Judges the calls that a lane admitted.
    pub(super) fn look(&mut self, view: &View<'_>) -> [Option<Finding>; 2] {
        let View {
            at, lane, settings, ..
        } = *view;
        let calls = Calls {
            kind: 0,
            subject: &lane.name,
            whose: format!("that `{}` admitted", lane.name),
            succeeded: lane.succeeded,
            failed: lane.failed,
            causes: view.failed.to_vec(),
            last_error: view.last_error(),
            models: lane.models,
        };
        self.judge(at, &calls, settings)
    }

    /// Judges the calls of a model.
    pub(crate) fn look_at_model(
        &mut self,
        sample: &Sample,
        model: &ModelSample,
        settings: &RuleSettings,
    ) -> [Option<Finding>; 2] {
        let failed = sample.failed.iter();
        let failed = failed.filter(|failed| failed.model == model.name);
        let causes = failed.map(|failed| ((Arc::clone(&failed.lane), failed.reason), failed.count));
        let calls = Calls {
            kind: 1,
            subject: &model.name,
            whose: format!("of the model `{}`", model.name),
            succeeded: model.succeeded,
            failed: model.failed,
            causes: causes.collect(),
            last_error: String::new(),
            models: 0,
        };
        let mut both = self.judge(sample.at, &calls, settings);
        let most = self.causes.growth(sample.at, &calls.causes, FAST.short);
        let error = most.first().and_then(|((name, _), _)| {
            let mut lanes = sample.lanes.iter();
            lanes.find(|lane| lane.name == *name)?.last_failure.clone()
        });
        if let Some((error, ((lane, _), _))) = error.zip(most.first()) {
            for finding in both.iter_mut().flatten() {
                let last = format!(" The last error of `{lane}`: {error}.");
                finding.sentence.push_str(&last);
            }
        }
        // The failures at a lane whose actors hang follow from that, which is reported.
        let is_silent = |name: &Arc<str>| {
            let mut lanes = sample.lanes.iter();
            lanes.any(|lane| lane.name == *name && lane.phase == Phase::Silent)
        };
        if most.first().is_some_and(|((lane, _), _)| is_silent(lane)) {
            for finding in both.iter_mut().flatten() {
                finding.level = Level::Holding;
            }
        }
        both
    }

    fn judge(
        &mut self,
        at: Duration,
        calls: &Calls<'_>,
        settings: &RuleSettings,
    ) -> [Option<Finding>; 2] {
        self.history.note(at, [calls.succeeded, calls.failed]);
        self.causes.note(at, &calls.causes);
        let fast = self.of_windows(&FAST, at, calls, settings);
        let mut slow = self.of_windows(&SLOW, at, calls, settings);
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
        calls: &Calls<'_>,
        settings: &RuleSettings,
    ) -> Option<Finding> {
        let rule = *windows.rules.get(calls.kind)?;
        let counts = [calls.succeeded, calls.failed];
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
        let (whose, all) = (&calls.whose, succeeded + failed);
        // The program may not have run for so long.
        let (span, objective) = (spoken(windows.short.min(at)), settings.objective * 100.0);
        let causes = self.causes.growth(at, &calls.causes, windows.short);
        let why = in_words(&causes, calls.kind);
        let only_model = calls.only_model(&causes);
        let sentence = format!(
            "{failed} of {all} calls {whose} in the last {span} failed; the objective is that {objective} % succeed.{why}{}",
            calls.last_error
        );
        Some(Finding {
            rule,
            subject: Arc::clone(calls.subject),
            level,
            sentence,
            action: only_model.is_some().then_some(ONE_MODEL_FAILS),
            only_model,
        })
    }
}

/// Returns the most frequent causes with their shares as a sentence.
fn in_words(causes: &[(Cause, u64)], kind: usize) -> String {
    let sum = causes.iter().map(|(_, count)| count).sum();
    let whose = if kind == 0 { "of the model" } else { "at" };
    let named = causes.iter().take(NAMED).map(|((name, reason), count)| {
        let share = percent(*count, sum);
        format!("{share} {whose} `{name}` with `{reason}`")
    });
    let named: Vec<_> = named.collect();
    if named.is_empty() {
        return String::new();
    }
    format!(" Of the failed calls: {}.", named.join(", "))
}
