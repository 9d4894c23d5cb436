//! Every ending of a call, each counted once.

use std::{sync::Arc, time::Duration};

use actix_web::{
    App, HttpRequest,
    body::{MessageBody, to_bytes},
    dev::ServiceResponse,
    test::{TestRequest, call_service, init_service, try_call_service},
    web::{self, Data, Payload},
};
use bytes::Bytes;
use kebne_lab::simulate::{Fault, Preset};
use kebne_lane::Ending;

use super::*;
use crate::{
    gateway::Gateway,
    metrics::Readings,
    settings::{ProcessEnvironment, Settings},
    surface::{Reading, openai},
};

/// Panics where a body is read.
#[derive(Debug)]
struct Panics;

impl Surface for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }

    fn has_turns(&self) -> bool {
        false
    }

    fn read(
        &self,
        _body: Bytes,
        _content_type: Option<&str>,
        _request_id: Arc<str>,
    ) -> Result<Reading, ApiError> {
        panic!("as scripted")
    }

    fn error_body(&self, _error: &ApiError, _request_id: &str) -> Bytes {
        Bytes::new()
    }

    fn error_event(&self, _error: &ApiError, _request_id: &str) -> Bytes {
        Bytes::new()
    }
}

async fn state(fault: Option<Fault>) -> Data<State> {
    let mut settings = Settings::default();
    settings.server.learned_path = std::path::PathBuf::new();
    settings.server.decisions_path = std::path::PathBuf::new();
    settings.context.store = kebne_context::StoreKind::Memory;
    let backend = &mut settings.backends[0];
    backend.simulation.preset = Preset::Instant;
    backend.simulation.fault = fault;
    backend.limits.attempts_max = 1;
    let gateway = Gateway::start(&settings, &ProcessEnvironment)
        .await
        .unwrap();
    let (state, _reloads) = State::new(gateway, &settings);
    Data::new(state)
}

macro_rules! app {
    ($state:expr, $surface:expr) => {{
        let route = |http: HttpRequest, payload: Payload, state: Data<State>| async move {
            let arrival = Arrival {
                surface: $surface,
                id: "id".into(),
                head: Head::Request(http),
                body: Body::Coming(payload),
            };
            serve(state, arrival).await
        };
        let app = App::new()
            .app_data($state.clone())
            .route("/", web::post().to(route));
        init_service(app).await
    }};
}

/// A deadline that nothing reaches that works, however busy the machine is.
const AMPLE_MS: &str = "60000";
/// A deadline that is waited for.
const SHORT_MS: &str = "300";

fn request(body: &str, deadline_ms: &str) -> TestRequest {
    TestRequest::post()
        .uri("/")
        .insert_header(("x-kebne-deadline-ms", deadline_ms))
        .set_payload(body.to_owned())
}

fn body(stream: bool) -> String {
    format!(
        r#"{{"model":"simulated","stream":{stream},"messages":[{{"role":"user","content":"a"}}]}}"#
    )
}

/// Returns how often each ending was counted.
async fn endings(state: &State) -> Vec<(String, u64)> {
    let text = {
        let readings = Readings {
            collections: None,
            reloads: crate::reload::ReloadStatus::default(),
            embedding: kebne_collections::EmbeddingProgress::default(),
            cache: crate::metrics::CacheReadings::default(),
            events: crate::events::EventReport::default(),
            function_events: Vec::new(),
            consumed: serde_json::Value::Null,
            prompts: Vec::new(),
            routes: crate::metrics::RouteReadings::default(),
            jobs: crate::metrics::JobReadings::default(),
            agents: crate::metrics::AgentReadings::default(),
            mcp: Vec::new(),
            tool_loops: Vec::new(),
            inner_calls: crate::gateway::inner::InnerCounts::default()
                .all()
                .collect(),
            inner_spent: (crate::gateway::inner::SpentByKey::new(), "USD".into()),
            alerts: Some(Vec::new()),
            bodies: (0, 0),
            answers: (0, 0),
            is_store_up: true,
            store_failures: 0,
            memory: (kebne_context::MemoryCounts::default(), 0),
            tls: None,
            are_stores_up: [true; 3],
            account_store: kebne_accounts::AccountHealth::default(),
            accounts: Vec::new(),
        };
        let snapshot = state.gateway.snapshot().await;
        state.metrics.text(&snapshot, &readings).unwrap()
    };
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("kebne_requests_total{"));
    let each = lines.map(|line| {
        let ending = line.split("ending=\"").nth(1).unwrap();
        let count = line.rsplit(' ').next().unwrap().parse().unwrap();
        (ending.split('"').next().unwrap().to_owned(), count)
    });
    each.filter(|(_, count)| *count > 0).collect()
}

async fn assert_one(state: &State, ending: Ending) {
    assert_eq!(endings(state).await, [(ending.label().to_owned(), 1)]);
}

async fn read(response: ServiceResponse) -> String {
    let body = to_bytes(response.into_body()).await.ok().unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[actix::test]
async fn every_ending_of_a_call_is_counted_once() {
    let cases = [
        (None, body(false), Ending::Success),
        (None, body(true), Ending::Success),
        (None, "{".to_owned(), Ending::Rejected),
        (None, r#"{"model":"none"}"#.to_owned(), Ending::Rejected),
        (Some(Fault::Http500), body(false), Ending::Error),
        (Some(Fault::HalfStream), body(true), Ending::Error),
        (Some(Fault::Hang), body(false), Ending::Timeout),
        (Some(Fault::Quota), body(false), Ending::Shed),
    ];
    for (fault, body, ending) in cases {
        let state = state(fault).await;
        let app = app!(state, &openai::CHAT);
        let deadline_ms = match ending {
            Ending::Timeout | Ending::Shed => SHORT_MS,
            _ => AMPLE_MS,
        };
        let request = request(&body, deadline_ms).to_request();
        let response = call_service(&app, request).await;
        assert_eq!(
            endings(&state).await,
            [],
            "{fault:?}: not before it is written"
        );
        read(response).await;
        assert_one(&state, ending).await;
    }
}

#[actix::test]
async fn a_stream_that_its_deadline_ends_says_so() {
    let state = state(Some(Fault::Stall)).await;
    let app = app!(state, &openai::CHAT);
    let response = call_service(&app, request(&body(true), "2000").to_request()).await;
    let events = read(response).await;
    assert!(events.contains(r#""content""#), "{events}");
    let last = events.trim_end().lines().last().unwrap();
    let error: serde_json::Value = serde_json::from_str(&last["data: ".len()..]).unwrap();
    assert_eq!(error["error"]["type"], "timeout_error", "{last}");
    assert_eq!(error["error"]["code"], "deadline_exceeded", "{last}");
    assert_one(&state, Ending::Timeout).await;
}

#[actix::test]
async fn a_caller_that_leaves_before_its_answer_is_counted_once() {
    let state = state(Some(Fault::Hang)).await;
    let app = app!(state, &openai::CHAT);
    let call = call_service(&app, request(&body(false), AMPLE_MS).to_request());
    let left = tokio::time::timeout(Duration::from_millis(50), call).await;
    assert!(left.is_err());
    assert_one(&state, Ending::Cancelled).await;
}

#[actix::test]
async fn a_caller_that_leaves_within_its_answer_is_counted_once() {
    for stream in [false, true] {
        let state = state(None).await;
        let app = app!(state, &openai::CHAT);
        let response = call_service(&app, request(&body(stream), AMPLE_MS).to_request()).await;
        let mut body = response.into_body();
        let first = std::future::poll_fn(|task| std::pin::Pin::new(&mut body).poll_next(task));
        assert!(first.await.is_some());
        drop(body);
        assert_one(&state, Ending::Cancelled).await;
        let lanes = state.gateway.snapshot().await.lanes;
        assert_eq!(lanes[0].endings.of(Ending::Cancelled), 1, "{stream}");
    }
}

#[actix::test]
async fn a_panic_is_counted_once() {
    let state = state(None).await;
    let app = app!(state, &Panics);
    let call = try_call_service(&app, request(&body(false), AMPLE_MS).to_request());
    let call = std::panic::AssertUnwindSafe(call);
    assert!(futures_util::FutureExt::catch_unwind(call).await.is_err());
    assert_one(&state, Ending::Panic).await;
}

#[actix::test]
async fn a_call_that_is_cut_off_by_the_end_of_the_service_is_counted_once() {
    let state = state(Some(Fault::Hang)).await;
    let app = app!(state, &openai::CHAT);
    let long = request(&body(false), AMPLE_MS);
    let call = call_service(&app, long.to_request());
    let cut = async {
        while state.gateway.snapshot().await.lanes[0].pool.in_flight == 0 {
            tokio::task::yield_now().await;
        }
        state.gateway.drain().await;
        assert_eq!(state.gateway.cut_off().await, 1);
    };
    let (response, ()) = tokio::join!(call, cut);
    assert!(read(response).await.contains("draining"));
    assert_one(&state, Ending::Drained).await;
}
