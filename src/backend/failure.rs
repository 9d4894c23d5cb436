//! Creates failures from unusable answers of a backend.
//!
//! Each failure has a class for the lane, a reason code for the caller and a message for the log, from which secrets
//! and long quotations are removed. The backend's text is sent to a caller only if the fault is the caller's own.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::{classify::classify_event, error::ErrorView, redact, stream::Problem};

use crate::backend::reason::{
    CUT, LOADING, OVERLOADED, QUOTA, RATE_LIMITED, TOO_LARGE, UNREADABLE,
};

/// Bytes of a body that are shown in a log.
const SHOWN_MAX: usize = 200;

/// Creates the failure of an answer that cannot be used. `started` is `true` if a part of the answer was already sent
/// to the caller.
pub(crate) fn of_problem(problem: &Problem, started: bool) -> Failure {
    match problem {
        Problem::Error(data) => of_error(data, started),
        Problem::TooLarge => Failure::new(
            Outcome::Unusable,
            "an event of the backend's answer is larger than `event_size_max`, or the answer than `answer_size_max`",
        )
        .because(TOO_LARGE),
        Problem::Unreadable => Failure::new(
            Outcome::Unusable,
            "the backend's answer is not valid in the dialect that it should have",
        )
        .because(UNREADABLE),
        Problem::Empty => Failure::new(
            Outcome::Unusable,
            "the backend's answer holds none of the fields that an answer must have",
        )
        .because(UNREADABLE),
        Problem::Failed => Failure::new(
            Outcome::Fault,
            "the backend gave up the answer and said so in its finish reason",
        )
        .because(CUT),
        Problem::Cut => cut("the backend's answer ended before it was complete"),
    }
}

/// Creates the failure of an error in the place of an answer.
fn of_error(data: &Bytes, started: bool) -> Failure {
    let in_band = classify_event(data);
    let message = format!(
        "the backend reported an error instead of an answer: {}",
        error_text(data)
    );
    // A refusal in the middle of an answer has cost work, and the call cannot be repeated.
    let is_late_refusal = started && in_band.outcome.is_refusal();
    let outcome = if is_late_refusal {
        Outcome::Fault
    } else {
        in_band.outcome
    };
    let mut failure = Failure::new(outcome, message);
    if is_late_refusal {
        failure.reason = Some(match (in_band.outcome, in_band.status) {
            (Outcome::Quota { .. }, _) => QUOTA,
            (Outcome::Cold { .. }, _) => LOADING,
            (_, Some(429)) => RATE_LIMITED,
            _ => OVERLOADED,
        });
    }
    failure.status = in_band.status;
    if outcome == Outcome::Client {
        failure.status = Some(in_band.status.unwrap_or(400));
        failure.body = Some(data.clone());
    }
    failure
}

/// Adds the headers of the backend's answer that are passed on to the caller.
pub(crate) fn with_headers(mut failure: Failure, headers: HeaderMap) -> Failure {
    if !headers.is_empty() {
        failure.attachment = Some(Arc::new(headers));
    }
    failure
}

/// Returns the headers that [`with_headers`] has added.
pub(crate) fn headers_of(failure: &Failure) -> Option<&HeaderMap> {
    failure.attachment.as_ref()?.downcast_ref()
}

/// Creates the failure of an answer that ended before it was complete.
pub(crate) fn cut(message: impl Into<String>) -> Failure {
    Failure::new(Outcome::Fault, message).because(CUT)
}

/// Creates the failure of an answer that is not valid in its dialect; `start` is its beginning.
pub(crate) fn unreadable(start: &[u8]) -> Failure {
    let message = format!(
        "the backend's answer cannot be read; it begins: {}",
        error_text(start)
    );
    Failure::new(Outcome::Unusable, message).because(UNREADABLE)
}

/// Returns the text of a body for a log: the message of an error, or the beginning of the body, without secrets.
pub(crate) fn error_text(body: &[u8]) -> String {
    let message = ErrorView::of_refusal(body).map(|view| view.message);
    let text = message
        .filter(|message| !message.is_empty())
        .unwrap_or_else(|| {
            String::from_utf8_lossy(&body[..body.len().min(SHOWN_MAX)]).into_owned()
        });
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = redact::text(&text);
    let end = shown.floor_char_boundary(SHOWN_MAX);
    shown[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_status_and_only_a_callers_fault_keeps_its_words() {
        let error = |text: &'static str| Problem::Error(Bytes::from_static(text.as_bytes()));
        let long =
            error(r#"{"object":"error","message":"too long","type":"BadRequestError","code":422}"#);
        let failure = of_problem(&long, false);
        assert_eq!(
            (failure.outcome, failure.status),
            (Outcome::Client, Some(422))
        );
        assert!(failure.body.is_some());
        let key =
            error(r#"{"error":{"message":"bad key sk-abcdefgh","type":"authentication_error"}}"#);
        let failure = of_problem(&key, false);
        assert_eq!(failure.outcome, Outcome::Misconfigured);
        assert!(
            failure.body.is_none() && !failure.message.contains("abcdefgh"),
            "{failure}"
        );
        let busy = error(r#"{"error":{"code":429}}"#);
        assert_eq!(of_problem(&busy, false).outcome, Outcome::Limit);
        let late = of_problem(&busy, true);
        assert_eq!(
            (late.outcome, late.reason, late.status),
            (Outcome::Fault, Some(RATE_LIMITED), Some(429))
        );
        let overloaded = error(r#"{"type":"error","error":{"type":"overloaded_error"}}"#);
        assert_eq!(of_problem(&overloaded, true).reason, Some(OVERLOADED));
        let loading = error(r#"{"error":{"message":"Loading model","code":503}}"#);
        assert_eq!(of_problem(&loading, true).reason, Some(LOADING));
    }

    #[test]
    fn what_a_body_says_is_short_and_without_secrets() {
        let html = format!("<html>\n  Bearer abcdef {}</html>", "x ".repeat(500));
        let shown = error_text(html.as_bytes());
        assert!(shown.starts_with("<html> Bearer *** x x"), "{shown}");
        assert!(shown.len() <= SHOWN_MAX);
        let validation =
            r#"{"detail":[{"loc":["body","n"],"msg":"not a number","input":"my secret prompt"}]}"#;
        assert_eq!(error_text(validation.as_bytes()), "`body.n`: not a number");
    }
}
