//! The in-process backend in paused time.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::llm::ModelBody;
use kebne_lab::simulate::Preset;

use crate::{backend::wire::read, llm::StreamItem};

fn quiet() -> Profile {
    Profile {
        cold_start_spread: 0.0,
        latency_spread: 0.0,
        slow_share: 0.0,
        failure_share: 0.0,
        ..Profile::preset(Preset::Default)
    }
}

fn ready() -> Profile {
    Profile {
        cold_start: Duration::ZERO,
        ..quiet()
    }
}

fn attempt(stream: bool) -> Attempt<ModelRequest> {
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"hello"}}],"stream":{stream}}}"#
    );
    let start = body.find("\"m\"").unwrap();
    Attempt {
        request: ModelRequest {
            stream,
            ..ModelRequest::new(
                Endpoint::Chat,
                Bytes::from(body),
                start..start + 3,
                Arc::from("r"),
            )
        },
        number: 1,
        wake: false,
        first_part_timeout: None,
        idle_timeout: Duration::from_secs(10),
        cancelled: CancellationToken::new(),
    }
}

fn with_fault(fault: Fault) -> SimulatedBackend {
    SimulatedBackend::new(Profile {
        fault: Some(fault),
        ..ready()
    })
}

#[tokio::test(start_paused = true)]
async fn a_cold_model_says_how_long_it_takes_and_keeps_its_word() {
    let backend = SimulatedBackend::new(quiet());
    let failure = backend.attempt(attempt(false)).await.unwrap_err();
    assert_eq!(failure.status, Some(503));
    let Outcome::Cold {
        estimated: Some(estimated),
    } = failure.outcome
    else {
        panic!("{failure:?}");
    };
    assert_eq!(estimated, Duration::from_secs(4));
    sleep(estimated).await;
    let begun = Instant::now();
    let answer = backend.attempt(attempt(false)).await.unwrap();
    let ModelBody::Whole(body) = answer.response.body else {
        panic!("a whole answer was asked for");
    };
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(
        body["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .contains("hello")
    );
    assert_eq!(body["usage"]["completion_tokens"], 48);
    assert_eq!(answer.tokens, Some(48));
    assert_eq!(begun.elapsed(), Duration::from_millis(150 + 47 * 25));
}

#[tokio::test(start_paused = true)]
async fn a_stream_comes_token_by_token_and_ends_with_done() {
    let backend = SimulatedBackend::new(ready());
    let begun = Instant::now();
    let answer = backend.attempt(attempt(true)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(150));
    let (events, last) = read(answer).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(150 + 47 * 25));
    assert!(matches!(last, StreamItem::End));
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    assert_eq!(events.matches("\n\n").count(), 48 + 2);
    assert_eq!(backend.status().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_attempt_gives_its_place_back() {
    let backend = SimulatedBackend::new(ready());
    {
        let running = backend.attempt(attempt(false));
        let gave_up = tokio::time::timeout(Duration::from_millis(10), running).await;
        assert!(gave_up.is_err());
    }
    assert_eq!(backend.status().in_flight, 0);
    let answer = backend.attempt(attempt(true)).await.unwrap();
    assert_eq!(backend.status().in_flight, 1);
    drop(answer);
    assert_eq!(backend.status().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn calls_above_the_knee_are_refused_without_a_clock() {
    let backend = SimulatedBackend::new(Profile {
        capacity: 2,
        ..ready()
    });
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(backend.attempt(attempt(true)).await.unwrap());
    }
    let failure = backend.attempt(attempt(true)).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::Limit);
}

#[tokio::test(start_paused = true)]
async fn each_fault_before_the_first_token_is_what_a_client_would_make_of_it() {
    let rate = Outcome::Rate {
        retry_after: Some(Duration::from_secs(1)),
        slow_down: false,
    };
    let expected = [
        (Fault::Reset, Outcome::Fault),
        (Fault::Garbage, Outcome::Fault),
        (Fault::EndlessLine, Outcome::Fault),
        (Fault::Http500, Outcome::Fault),
        (Fault::Overloaded, Outcome::Limit),
        (Fault::Quota, Outcome::Quota { reset: None }),
        (Fault::RateLimit, rate),
        (Fault::Loading, Outcome::Cold { estimated: None }),
    ];
    for (fault, outcome) in expected {
        let failure = with_fault(fault).attempt(attempt(true)).await.unwrap_err();
        assert_eq!(failure.outcome, outcome, "{fault:?}");
    }
    let hanging = with_fault(Fault::Hang);
    let hung = tokio::time::timeout(Duration::from_hours(1), hanging.attempt(attempt(true))).await;
    assert!(hung.is_err());
}

#[tokio::test(start_paused = true)]
async fn each_fault_within_a_stream_is_a_loss_and_never_an_end() {
    let expected = [
        (Fault::HalfStream, Outcome::Fault),
        (Fault::ErrorEvent, Outcome::Fault),
        (Fault::NoDone, Outcome::Fault),
        (Fault::Stall, Outcome::Timeout),
    ];
    for (fault, outcome) in expected {
        let backend = with_fault(fault);
        let (events, last) = read(backend.attempt(attempt(true)).await.unwrap()).await;
        let StreamItem::Lost(failure) = last else {
            panic!("{fault:?}: {last:?}");
        };
        assert_eq!(failure.outcome, outcome, "{fault:?}");
        assert!(
            !events.contains("[DONE]") && !events.is_empty(),
            "{fault:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_request_is_the_callers_fault() {
    let mut wrong = attempt(false);
    wrong.request.body = Bytes::from_static(b"{\"messages\": 3}");
    let failure = SimulatedBackend::new(ready())
        .attempt(wrong)
        .await
        .unwrap_err();
    assert_eq!(
        (failure.outcome, failure.status),
        (Outcome::Client, Some(400))
    );
    let body: Value = serde_json::from_slice(&failure.body.unwrap()).unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
}
