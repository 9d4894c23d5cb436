//! The simulated model's refusals, as a lane sees them.

use kebne_lane::{Failure, Outcome};

use crate::simulate::{Decision, Work};

/// Returns the work of an accepted call, or the failure as which the server's answer would be classified.
///
/// # Errors
/// Fails if the model refused the call.
pub fn work_of(decision: Decision) -> Result<Work, Failure> {
    let (outcome, status, message) = match decision {
        Decision::Accepted(work) => return Ok(work),
        Decision::Loading { estimated, .. } => {
            let outcome = Outcome::Cold {
                estimated: Some(estimated),
            };
            (outcome, 503, "the simulated model is loading")
        }
        Decision::Refused => (Outcome::Limit, 503, "the simulated model is overloaded"),
        Decision::Limited { retry_after } => {
            let outcome = Outcome::Rate {
                retry_after: Some(retry_after),
                slow_down: false,
            };
            (outcome, 429, "the simulated model is asked too often")
        }
    };
    Err(Failure::new(outcome, message).with_status(status))
}
