//! How calls and callers differ among themselves, because the calls of one lane are rarely all of one kind.

use serde::{Deserialize, Serialize};

use crate::sim::dice::Dice;

/// The differences; the default has none.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mix {
    /// The share of the calls whose answer is streamed.
    pub(crate) streamed: f64,
    /// The share of the calls of a second operation, such as embeddings beside chat, that never stream.
    pub(crate) short_share: f64,
    /// The factor of the work of these calls.
    pub(crate) short_factor: f64,
    /// The mean share of the work that the prompt takes; until then there is no first part.
    pub(crate) prompt: f64,
    /// The log-deviation of that share.
    pub(crate) prompt_sigma: f64,
    /// The index of a Pareto distribution of the work; zero for a lognormal one.
    pub(crate) tail: f64,
    /// `true` if callers bound the length of their answers, so that calls of other lengths are other kinds.
    pub(crate) bounded: bool,
    /// The share of the callers that leave after at most `patience` seconds.
    pub(crate) leave_early: f64,
    pub(crate) patience: f64,
    /// The share of the callers that leave with the first part of a streamed answer.
    pub(crate) leave_begun: f64,
    /// The largest number of calls that a caller makes for one answer, as SDKs do; zero counts as one.
    pub(crate) tries: u32,
    /// The interval at which the gateway handles events; zero for at once.
    pub(crate) lag: f64,
    /// The gateway's machine is busy with other work for a while.
    pub(crate) stalls: Option<Stalls>,
    /// The coefficient of variation of the time between two arrivals; zero for a Poisson process.
    pub(crate) gaps: f64,
}

/// A time in which the gateway's machine has other work, so that all its events are late and are stamped late, whatever is in
/// flight. The program runs for a moment, then not for a heavy-tailed time between 5 and 200 ms.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stalls {
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// The median of the times without the processor, in seconds.
    pub(crate) median: f64,
    /// The standard deviation of their logarithm.
    pub(crate) sigma: f64,
}

impl Stalls {
    /// Draws the length of one stall.
    pub(crate) fn draw(&self, dice: &mut Dice) -> f64 {
        (self.median.ln() + self.sigma * dice.normal())
            .exp()
            .clamp(0.005, 0.2)
    }
}

impl Mix {
    /// Divides every time by `speed`.
    pub(crate) fn scale(&mut self, speed: f64) {
        self.patience /= speed;
        self.lag /= speed;
        if let Some(stalls) = &mut self.stalls {
            stalls.from /= speed;
            stalls.to /= speed;
            stalls.median /= speed;
        }
    }

    /// Returns how long a caller waits before the attempt after the first `tries` ones: half a second, doubled each
    /// time up to 8 s, minus up to a quarter at random; or the requested time, up to a minute.
    pub(crate) fn backoff(tries: u32, asked: Option<f64>, chance: f64) -> f64 {
        match asked.filter(|asked| *asked > 0.0 && *asked <= 60.0) {
            Some(asked) => asked,
            None => {
                (0.5 * f64::from(tries.saturating_sub(1).min(4)).exp2()) * (1.0 - 0.25 * chance)
            }
        }
    }
}
