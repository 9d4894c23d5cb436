//! The reason codes of failures, which determine the message for the caller.

use kebne_lane::RefusalReason;

/// The answer cannot be read.
pub const UNREADABLE: &str = "unreadable_answer";
/// The answer, or an event of it, is larger than allowed.
pub const TOO_LARGE: &str = "answer_too_large";
/// Other answers take all the memory that answers may take.
pub const NO_MEMORY: &str = "answers_full";
/// The answer ended before it was complete.
pub const CUT: &str = "answer_cut";
/// The backend redirects to a server to which its key must not be sent.
pub const REDIRECTED: &str = "backend_redirects";
/// The call has come back to a gateway that it had come through.
pub const LOOP: &str = "loop_detected";
/// Nothing arrived for longer than the idle timeout.
pub const SILENT: &str = "backend_silent";
/// No connection to the backend could be made.
pub const UNREACHABLE: &str = "backend_unreachable";
/// An operator has taken the backend out of service.
pub const OUT_OF_SERVICE: &str = "lane_closed";
/// The model is loading: the backend reported it in the middle of an answer, or the gateway has not loaded its server yet.
pub const LOADING: &str = "model_loading";
/// The server that the gateway starts fails again and again.
pub const SERVER_FAILS: &str = "server_fails";
/// The backend reported overload in the middle of an answer.
pub const OVERLOADED: &str = "server_is_overloaded";
/// The backend reported that a rate limit was reached, in the middle of an answer.
pub const RATE_LIMITED: &str = "rate_limit_exceeded";
/// The backend reported that a quota is used up, in the middle of an answer.
pub const QUOTA: &str = "insufficient_quota";

/// The model or the function may not be called by the key.
pub const NOT_ALLOWED: &str = "model_not_allowed";
/// An agent does not take the call.
pub const AGENT_REFUSED: &str = "agent_refused";
/// A run of an agent has no final text.
pub const AGENT_WITHOUT_ANSWER: &str = "agent_without_answer";
/// The tenant has as many runs as it may.
pub const AGENTS_FULL: &str = "agents_full";
/// The store of agents does not answer.
pub const AGENTS_UNAVAILABLE: &str = "agents_unavailable";
/// What the store of agents holds cannot be read.
pub const AGENTS_DAMAGED: &str = "agents_damaged";

/// Returns the reason code of a lane's refusal.
pub(crate) fn of_refusal(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::QueueFull | RefusalReason::QueueBytes => "queue_full",
        RefusalReason::WaitTooLong => "wait_too_long",
        RefusalReason::QueueTimeout => "queue_timeout",
        RefusalReason::Cold => LOADING,
        RefusalReason::Broken => "backend_broken",
        RefusalReason::Backoff => OVERLOADED,
        RefusalReason::Quota => QUOTA,
        RefusalReason::Draining => "draining",
    }
}
