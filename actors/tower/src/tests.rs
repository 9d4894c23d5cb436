//! The layers around services that count, fail and refuse.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use kebne_actors::ActorSystem;
use kebne_lane::{CallError, CallOptions, Failure, Outcome};
use kebne_streams::{
    breaker::{BreakerError, BreakerSettings, CircuitBreaker},
    retry::Retry,
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A service that doubles numbers and fails the first `failures` calls.
fn doubling(
    calls: &Arc<AtomicUsize>,
    failures: usize,
) -> impl Service<u32, Response = u32, Error = &'static str, Future: Send> + Clone + Send + Sync + 'static
{
    let calls = Arc::clone(calls);
    service_fn(move |number: u32| {
        let nth = calls.fetch_add(1, SeqCst);
        async move {
            if nth < failures {
                Err("on purpose")
            } else {
                Ok(number * 2)
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn retries_repeat_a_call_up_to_their_number() {
    let calls = Arc::default();
    let layer = RetryLayer::new(Retry::times(2).after(SECOND));
    let mut service = ServiceBuilder::new()
        .layer(layer.clone())
        .service(doubling(&calls, 2));
    assert_eq!(service.call(4).await, Ok(8));
    assert_eq!(calls.load(SeqCst), 3);
    let calls = Arc::default();
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .service(doubling(&calls, 9));
    assert_eq!(service.call(4).await, Err("on purpose"));
    assert_eq!(calls.load(SeqCst), 3);
}

fn breaker() -> CircuitBreaker {
    CircuitBreaker::new(BreakerSettings {
        max_failures: 2,
        reset_timeout: 10 * SECOND,
        ..BreakerSettings::default()
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_for_all_clones_and_closes_after_a_probe() {
    let calls = Arc::default();
    let layer = BreakerLayer::new(breaker());
    let service = ServiceBuilder::new()
        .layer(layer)
        .service(doubling(&calls, 2));
    for _ in 0..2 {
        let failed = service.clone().oneshot(1).await;
        assert_eq!(failed, Err(BreakerError::Failed("on purpose")));
    }
    let refused = service.clone().oneshot(1).await;
    assert!(
        matches!(refused, Err(BreakerError::Open { .. })),
        "{refused:?}"
    );
    assert_eq!(calls.load(SeqCst), 2);
    tokio::time::sleep(11 * SECOND).await;
    assert_eq!(service.clone().oneshot(1).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_decider_makes_a_response_a_failure() {
    let calls = Arc::default();
    let layer = BreakerLayer::new(breaker());
    let odd = |result: &Result<u32, &str>| !matches!(result, Ok(value) if *value > 10);
    let service = layer.deciding(doubling(&calls, 0), odd);
    for _ in 0..2 {
        assert_eq!(service.clone().oneshot(1).await, Ok(2));
    }
    let refused = service.clone().oneshot(9).await;
    assert!(
        matches!(refused, Err(BreakerError::Open { .. })),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_throttle_delays_and_refuses_what_would_wait_too_long() {
    let calls = Arc::default();
    let layer = ThrottleLayer::new(1, SECOND, SECOND);
    let service = ServiceBuilder::new()
        .layer(layer)
        .service(doubling(&calls, 0));
    let begun = tokio::time::Instant::now();
    let (first, second, third) = tokio::join!(
        service.clone().oneshot(1),
        service.clone().oneshot(2),
        service.clone().oneshot(3),
    );
    assert_eq!((first, second), (Ok(2), Ok(4)));
    assert_eq!(begun.elapsed().as_secs(), 1);
    let wait = 2 * SECOND;
    assert_eq!(third, Err(ThrottleError::TooEarly { wait }));
    // What was refused took no token.
    tokio::time::sleep(SECOND).await;
    assert_eq!(service.clone().oneshot(5).await, Ok(10));
    assert_eq!(begun.elapsed().as_secs(), 2);
}

/// Refusals say so, and are repeated; other errors are faults.
fn classify(result: &Result<u32, &'static str>) -> Option<Failure> {
    match result {
        Ok(_) => None,
        Err("full") => Some(Failure::new(Outcome::Limit, "full")),
        Err(error) => Some(Failure::new(Outcome::Fault, *error)),
    }
}

#[actix::test]
async fn a_lane_gets_every_call_through_a_service_that_takes_two_at_a_time() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let running = Arc::new(AtomicUsize::new(0));
    let fragile = service_fn(move |number: u32| {
        let running = Arc::clone(&running);
        async move {
            if running.fetch_add(1, SeqCst) >= 2 {
                running.fetch_sub(1, SeqCst);
                return Err("full");
            }
            tokio::time::sleep(SECOND / 10).await;
            running.fetch_sub(1, SeqCst);
            Ok(number * 2)
        }
    });
    let layer = LaneLayer::new(&system, "fragile", classify);
    let service = ServiceBuilder::new().layer(layer).service(fragile);
    let calls: Vec<_> = (0..20)
        .map(|number| actix::spawn(service.clone().oneshot(number)))
        .collect();
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), number * 2);
    }
    let endings = service.lane().await.unwrap().endings();
    assert_eq!(endings.of(kebne_lane::Ending::Success), 20);
    system.terminate().await;
}

#[actix::test]
async fn a_failure_of_a_call_that_is_not_idempotent_is_not_repeated() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let layer = LaneLayer::new(&system, "charge", classify);
    let calls = Arc::default();
    let once = ServiceBuilder::new()
        .layer(layer.clone())
        .service(doubling(&calls, 1));
    let failed = once.clone().oneshot(1).await;
    let Err(LaneError::Call(CallError::Failed { attempts, .. })) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!((attempts, calls.load(SeqCst)), (1, 1));
    let calls = Arc::default();
    let options = CallOptions::within(60 * SECOND).idempotent();
    let twice = ServiceBuilder::new()
        .layer(layer.options(options))
        .service(doubling(&calls, 1));
    assert_eq!(twice.clone().oneshot(1).await.unwrap(), 2);
    assert_eq!(calls.load(SeqCst), 2);
    system.terminate().await;
}

#[test]
fn statuses_have_outcomes() {
    let outcome = |status: u16, retry_after: Option<&'static str>| {
        let mut headers = http::HeaderMap::new();
        if let Some(seconds) = retry_after {
            headers.insert("retry-after", http::HeaderValue::from_static(seconds));
        }
        outcome_of_status(http::StatusCode::from_u16(status).unwrap(), &headers)
    };
    assert_eq!(outcome(200, None), None);
    assert_eq!(outcome(429, None), Some(Outcome::Limit));
    let waits = Outcome::Rate {
        retry_after: Some(7 * SECOND),
        slow_down: false,
    };
    assert_eq!(outcome(503, Some("7")), Some(waits));
    assert_eq!(outcome(504, None), Some(Outcome::Timeout));
    assert_eq!(outcome(500, None), Some(Outcome::Fault));
    assert_eq!(outcome(404, None), Some(Outcome::Misconfigured));
    assert_eq!(outcome(422, None), Some(Outcome::Client));
    assert_eq!(outcome(302, None), Some(Outcome::Unusable));
}
