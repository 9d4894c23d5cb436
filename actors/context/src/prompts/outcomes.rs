//! Outcomes of calls, as their callers report them, and what is known of a version by them.

use std::collections::BTreeMap;

/// The quantile of the normal distribution for an interval that holds the true value in 95 % of all cases.
const Z: f64 = 1.959_963_984_540_054;

/// How a call turned out for its caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A number from -1 to 1.
    Value(f64),
    /// A name, such as `solved`.
    Label(String),
}

/// A mean or a share with its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean, or the share.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// The outcomes of one version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// The number of values.
    pub values: u64,
    /// The sum of the values.
    pub sum: f64,
    /// The number of outcomes with each label.
    pub labels: BTreeMap<String, u64>,
}

impl Tally {
    /// Returns the mean of the values with its interval; `None` without values.
    ///
    /// A value `v` counts as the part `(v + 1) / 2` of a success, and the interval is Wilson's (E. B. Wilson, Probable Inference, the Law
    /// of Succession, and Statistical Inference, JASA 22, 1927). It is exact for values of -1 and 1; the variance of other values is
    /// smaller, so that the interval is wider than needed.
    pub fn mean(&self) -> Option<Estimate> {
        let share = f64::midpoint(self.sum / real(self.values), 1.0);
        let estimate = wilson(share, self.values)?;
        Some(Estimate {
            mean: 2.0 * estimate.mean - 1.0,
            low: 2.0 * estimate.low - 1.0,
            high: 2.0 * estimate.high - 1.0,
        })
    }

    /// Returns the share of a label among all labels with its interval, Wilson's.
    pub fn share(&self, label: &str) -> Option<Estimate> {
        let all = self.labels.values().sum();
        let count = self.labels.get(label).copied().unwrap_or_default();
        wilson(real(count) / real(all), all)
    }
}

/// Returns Wilson's interval of a share `p` of `n`:
/// `(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)`.
fn wilson(share: f64, count: u64) -> Option<Estimate> {
    if count == 0 {
        return None;
    }
    let share = share.clamp(0.0, 1.0);
    let n = real(count);
    let z2 = Z * Z;
    let scale = 1.0 + z2 / n;
    let centre = (share + z2 / (2.0 * n)) / scale;
    let half = Z * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt() / scale;
    Some(Estimate {
        mean: share,
        low: (centre - half).max(0.0),
        high: (centre + half).min(1.0),
    })
}

/// Converts a count; beyond 2^53 it is rounded.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(estimate: Estimate, expected: [f64; 3]) {
        let found = [estimate.mean, estimate.low, estimate.high];
        let is_close = found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 5e-4);
        assert!(is_close, "{found:?} {expected:?}");
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263 and 0 of 20.
        close(wilson(81.0 / 263.0, 263).unwrap(), [0.308, 0.2553, 0.3662]);
        close(wilson(0.0, 20).unwrap(), [0.0, 0.0, 0.1611]);
        assert_eq!(wilson(0.5, 0), None);
    }

    #[test]
    fn the_mean_of_values_is_between_their_bounds() {
        let mut tally = Tally {
            values: 20,
            sum: -20.0,
            ..Tally::default()
        };
        close(tally.mean().unwrap(), [-1.0, -1.0, -0.6778]);
        tally.sum = 0.0;
        let mean = tally.mean().unwrap();
        assert!((mean.low + mean.high).abs() < 1e-9);
        assert_eq!(Tally::default().mean(), None);
        tally.labels = BTreeMap::from([("solved".to_owned(), 81), ("not".to_owned(), 182)]);
        close(tally.share("solved").unwrap(), [0.308, 0.2553, 0.3662]);
    }
}
