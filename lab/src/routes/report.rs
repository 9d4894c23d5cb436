//! What is printed: the confusion of intents, and the shares of questions that were decided.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::routes::{Asked, NONE};

/// The name of the column of questions that are below the margin.
const UNCLEAR: &str = "(margin)";
/// The thresholds and margins of a sweep.
const THRESHOLDS: [f64; 7] = [0.0, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4];
const MARGINS: [f64; 6] = [0.0, 0.02, 0.05, 0.08, 0.1, 0.15];

/// The results of all questions at one threshold and margin.
#[derive(Clone, Debug)]
pub struct Report {
    threshold: f64,
    margin: f64,
    /// By label and result.
    counts: BTreeMap<(String, String), usize>,
}

impl Report {
    /// Counts the results of questions.
    pub(crate) fn of(asked: &[Asked], threshold: f64, margin: f64) -> Self {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for one in asked {
            let found = one.found(threshold, margin);
            let found = found.unwrap_or_else(|| UNCLEAR.to_owned());
            *counts.entry((one.label.clone(), found)).or_default() += 1;
        }
        Self {
            threshold,
            margin,
            counts,
        }
    }

    fn count(&self, fits: impl Fn(&str, &str) -> bool) -> usize {
        let fitting = self.counts.iter();
        let fitting = fitting.filter(|((label, found), _)| fits(label, found));
        fitting.map(|(_, count)| count).sum()
    }

    /// Returns the share of questions with an intent for which this intent was found.
    pub fn accuracy(&self) -> f64 {
        let right = self.count(|label, found| label == found && label != NONE);
        share(right, self.count(|label, _| label != NONE))
    }

    /// Returns the share of found intents that are right.
    pub fn precision(&self) -> f64 {
        let is_found = |found: &str| found != NONE && found != UNCLEAR;
        let right = self.count(|label, found| label == found && is_found(found));
        share(right, self.count(|_, found| is_found(found)))
    }

    /// Returns the share of questions with an intent that are below the margin.
    pub fn below_margin(&self) -> f64 {
        let below = self.count(|label, found| label != NONE && found == UNCLEAR);
        share(below, self.count(|label, _| label != NONE))
    }

    /// Returns the share of questions with an intent that are below the threshold.
    pub fn below_threshold(&self) -> f64 {
        let below = self.count(|label, found| label != NONE && found == NONE);
        share(below, self.count(|label, _| label != NONE))
    }

    /// Returns the share of questions without an intent for which one was found; `None` if there are no such questions.
    pub fn false_intents(&self) -> Option<f64> {
        let all = self.count(|label, _| label == NONE);
        let found = self.count(|label, found| label == NONE && found != NONE && found != UNCLEAR);
        (all > 0).then(|| share(found, all))
    }

    /// Returns the report as text: labels down, results across.
    pub(crate) fn text(&self, embedder: &str) -> String {
        let mut names: Vec<&str> = self
            .counts
            .keys()
            .flat_map(|(label, found)| [label.as_str(), found])
            .filter(|name| *name != NONE && *name != UNCLEAR)
            .collect();
        names.sort_unstable();
        names.dedup();
        let columns: Vec<&str> = names.iter().copied().chain([NONE, UNCLEAR]).collect();
        let width = columns.iter().map(|name| name.len()).max().unwrap_or(0) + 1;
        let mut text = format!(
            "{} questions, embedder {embedder}, threshold {}, margin {}\n\n{:<width$}",
            self.count(|_, _| true),
            self.threshold,
            self.margin,
            ""
        );
        for name in &columns {
            // Writing to a string does not fail.
            let _always_written = write!(text, "{name:>width$}");
        }
        text.push('\n');
        let labels = names.iter().copied().chain([NONE]);
        for label in labels.filter(|label| self.count(|of, _| of == *label) > 0) {
            let _always_written = write!(text, "{label:<width$}");
            for found in &columns {
                let count = self.count(|of, other| of == label && other == *found);
                let _always_written = write!(text, "{count:>width$}");
            }
            text.push('\n');
        }
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let mut lines = vec![
            ("accuracy", percent(self.accuracy())),
            ("right of those found", percent(self.precision())),
            ("below the threshold", percent(self.below_threshold())),
            ("below the margin", percent(self.below_margin())),
        ];
        let wrong = self.false_intents();
        lines.extend(wrong.map(|share| ("found where there is none", percent(share))));
        text.push('\n');
        for (name, value) in lines {
            let _always_written = writeln!(text, "{name:<26} {value:>8}");
        }
        text
    }
}

/// Returns a table of thresholds and margins.
pub(crate) fn sweep(asked: &[Asked]) -> String {
    let mut text = "\nthreshold margin accuracy   right margin- false\n".to_owned();
    for threshold in THRESHOLDS {
        for margin in MARGINS {
            let report = Report::of(asked, threshold, margin);
            let _always_written = writeln!(
                text,
                "{threshold:>9} {margin:>6} {:>8.3} {:>7.3} {:>7.3} {:>5.3}",
                report.accuracy(),
                report.precision(),
                report.below_margin(),
                report.false_intents().unwrap_or_default()
            );
        }
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "counts of questions are small")]
fn share(part: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        part as f64 / all as f64
    }
}
