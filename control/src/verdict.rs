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

impl Verdict {
    /// Returns the decision as a sentence for an operator.
    pub fn sentence(&self) -> String {
        let (from, to, result) = (calls(self.from), calls(self.to), self.result);
        match self.kind {
            VerdictKind::Up => self.up(),
            VerdictKind::Down if result == "accept" => format!(
                "Answers came faster with {to} at once instead of {from}, and no fewer were served, so {to} is the limit."
            ),
            VerdictKind::Down => {
                let reason = if result.ends_with("rebase") {
                    "; the backend itself has become slower"
                } else {
                    ""
                };
                format!("Answers came no faster with {to} at once, so the limit is {from} again{reason}.")
            }
            VerdictKind::Anomaly => {
                format!("Answers have become slower, so {to} at once are tried instead of {from}.")
            }
            VerdictKind::Clamp => match result {
                "edge found" => format!("The backend refused one call more than it takes, so the limit is {to}."),
                "shut" => "The backend refuses calls although none is in flight, so single calls are sent until one is served.".to_owned(),
                _ if self.to < self.from && from != to => format!("The backend takes fewer calls than before, so the limit falls from {from} to {to}."),
                _ => format!("The backend refused a call within its limit, which stays at {to}."),
            },
            VerdictKind::Rate => {
                let why = if result == "asked to slow down" {
                    "asked for fewer calls"
                } else {
                    "refused a call and named a time"
                };
                format!("The backend {why}, so at most {:.1} calls per second are sent.", self.to)
            }
            VerdictKind::Retries => {
                let why = if self.to > self.from {
                    "do not come from load"
                } else {
                    "may come from load"
                };
                let percent = 100.0 * self.to;
                format!("Failures {why}, so up to {percent:.0} retries per 100 successes are allowed.")
            }
            VerdictKind::Timeout => format!(
                "An attempt may take {:.0} s instead of {:.0} s: {result}.",
                self.to, self.from
            ),
        }
    }

    fn up(&self) -> String {
        let (from, to) = (calls(self.from), calls(self.to));
        match self.result {
            "accept" => format!(
                "The backend serves more with {to} at once than with {from}, so the limit may grow further."
            ),
            "let in, climb" => format!(
                "The backend takes more calls than before, so the limit rises from {from} to {to}."
            ),
            "open again, level restored" => {
                format!("The backend takes calls again, so the limit is {to} again.")
            }
            "reject, calls wait" => format!(
                "With {to} at once, calls only waited inside the backend, so the limit is {from}."
            ),
            "reject, late" => {
                format!("With {to} at once, most calls timed out, so the limit is {from}.")
            }
            "reject, unproved" => format!(
                "A hundred answers did not show that {to} at once serve more, so the limit is {from}."
            ),
            "reject, level not reached" => {
                format!("Too few callers came to try {to} at once, so the limit is {from}.")
            }
            _ => format!(
                "The backend served no more with {to} at once than with {from}, so the limit is {from}."
            ),
        }
    }
}

/// Returns a number of calls as text; a limit is a whole number when it is used.
fn calls(level: f64) -> String {
    format!("{:.0}", level.floor().max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(kind: VerdictKind, from: f64, to: f64, result: &'static str) -> String {
        let verdict = Verdict {
            kind,
            from,
            to,
            elasticity: None,
            result,
        };
        verdict.sentence()
    }

    #[test]
    fn a_sentence_names_the_levels_and_the_reason() {
        assert_eq!(
            sentence(VerdictKind::Up, 2.0, 6.9, "accept"),
            "The backend serves more with 6 at once than with 2, so the limit may grow further."
        );
        assert_eq!(
            sentence(VerdictKind::Clamp, 11.0, 9.0, "edge found"),
            "The backend refused one call more than it takes, so the limit is 9."
        );
        assert_eq!(
            sentence(VerdictKind::Clamp, 16.0, 12.8, "refused"),
            "The backend takes fewer calls than before, so the limit falls from 16 to 12."
        );
        assert_eq!(
            sentence(VerdictKind::Clamp, 16.6, 16.0, "refused"),
            "The backend refused a call within its limit, which stays at 16."
        );
        assert_eq!(
            sentence(VerdictKind::Down, 9.0, 6.0, "undo and rebase"),
            "Answers came no faster with 6 at once, so the limit is 9 again; the backend itself has become slower."
        );
        assert_eq!(
            sentence(
                VerdictKind::Retries,
                0.2,
                0.5,
                "faults do not come from load"
            ),
            "Failures do not come from load, so up to 50 retries per 100 successes are allowed."
        );
    }
}
