//! How calls and callers differ among themselves: what one lane serves is seldom of one kind.

use serde::{Deserialize, Serialize};

/// The differences; the default has none.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mix {
    /// Share of the calls whose answer is streamed.
    pub(crate) streamed: f64,
    /// Share of the calls of a second operation, such as embeddings beside chat, that never stream ...
    pub(crate) short_share: f64,
    /// ... and take this part of the time.
    pub(crate) short_factor: f64,
    /// Mean share of the work that the prompt takes: until then there is no first part.
    pub(crate) prompt: f64,
    /// Log-deviation of that.
    pub(crate) prompt_sigma: f64,
    /// Index of a Pareto distribution of the work; zero keeps the lognormal one.
    pub(crate) tail: f64,
    /// Share of the callers that leaves after at most `patience` seconds.
    pub(crate) leave_early: f64,
    pub(crate) patience: f64,
    /// Share of the callers that leaves with the first part of a streamed answer.
    pub(crate) leave_begun: f64,
    /// Calls that a caller makes for one answer, as SDKs do; at most one where it is zero.
    pub(crate) tries: u32,
    /// The gateway handles events only at multiples of this time.
    pub(crate) lag: f64,
    /// Coefficient of variation of the time between two arrivals; zero is a Poisson process.
    pub(crate) gaps: f64,
}

impl Mix {
    /// Makes every time `speed` times as short.
    pub(crate) fn scale(&mut self, speed: f64) {
        self.patience /= speed;
        self.lag /= speed;
    }

    /// Returns how long a caller waits before the try after the first `tries` ones: half a second, doubled each time up
    /// to 8 s, less up to a quarter by chance; or what it was asked to wait, up to a minute.
    pub(crate) fn backoff(tries: u32, asked: Option<f64>, chance: f64) -> f64 {
        match asked.filter(|asked| *asked > 0.0 && *asked <= 60.0) {
            Some(asked) => asked,
            None => {
                (0.5 * f64::from(tries.saturating_sub(1).min(4)).exp2()) * (1.0 - 0.25 * chance)
            }
        }
    }
}
