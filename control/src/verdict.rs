//! The reason for a changed limit, with the values that decided it; shown in the log, in `/state` and on the page.

use std::fmt;

use serde::Serialize;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// A refusal cut the limit.
    Clamp,
    /// A higher level was tried.
    Up,
    /// A lower level was tried.
    Down,
    /// The backend became slower or lost more calls without a change of the limit; a lower level is tried.
    Anomaly,
    /// Refusals were found to come from a rate, or not to.
    Rate,
    /// The retry ratio changed, because the cause of the faults became known; `from` and `to` are retries per success.
    Retries,
    /// The attempt timeout changed; `from` and `to` are seconds.
    Timeout,
}

/// One decision of a limit, printed like `CLAMP 16.0->13.6 refused or late`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The kind of the change.
    pub kind: VerdictKind,
    /// The limit (calls) or rate (per second) before.
    pub from: f64,
    /// The limit or rate tried or set.
    pub to: f64,
    /// The measured latency elasticity and its standard error, if an experiment decided.
    pub elasticity: Option<(f64, f64)>,
    /// The result and its reason, in words.
    pub result: &'static str,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            VerdictKind::Clamp => "CLAMP",
            VerdictKind::Up => "UP",
            VerdictKind::Down => "DOWN",
            VerdictKind::Anomaly => "ANOMALY",
            VerdictKind::Rate => "RATE",
            VerdictKind::Retries => "RETRIES",
            VerdictKind::Timeout => "TIMEOUT",
        };
        write!(f, "{kind} {:.1}->{:.1}", self.from, self.to)?;
        if let Some((elasticity, error)) = self.elasticity {
            write!(f, " e={elasticity:.2}±{error:.2}")?;
        }
        write!(f, " {}", self.result)
    }
}
