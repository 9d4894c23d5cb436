//! Against a service of a few lines, so that each end is known.

use std::cell::RefCell;

use actix_web::{App, HttpResponse, HttpServer, web};

use super::*;

#[derive(Default)]
struct Ends(RefCell<Vec<usize>>);

impl Watcher for Ends {
    fn ended(&self, call: &Call, _in_flight: usize) {
        self.0.borrow_mut().push(call.id);
    }
}

/// Answers by the call's number: 0 is served, 1 shed with a reason, 2 shed with a code, 3 fails, 4 breaks a stream,
/// 5 hangs.
async fn answer(body: web::Bytes) -> HttpResponse {
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let turn = body["messages"][0]["content"].as_str().unwrap().to_owned();
    match turn.as_str() {
        "call 0" => HttpResponse::Ok().body("data: {}\n\ndata: [DONE]\n\n"),
        "call 1" => HttpResponse::TooManyRequests()
            .insert_header(("x-kebne-reason", "queue_full"))
            .finish(),
        "call 2" => HttpResponse::ServiceUnavailable().body(r#"{"error":{"code":"busy"}}"#),
        "call 3" => HttpResponse::InternalServerError().finish(),
        "call 4" => HttpResponse::Ok().body("data: {}\n\n"),
        _ => std::future::pending().await,
    }
}

/// Creates an HTTP client. The TLS provider is chosen by whoever uses the crate: here, by the test.
fn client() -> reqwest::Client {
    // Another test may have installed it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[actix::test]
async fn every_call_ends_once_by_what_its_caller_saw() {
    let server =
        HttpServer::new(|| App::new().route("/v1/chat/completions", web::post().to(answer)))
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .unwrap();
    let address = server.addrs()[0];
    let running = server.run();
    let handle = running.handle();
    let serving = actix_rt::spawn(running);
    let plan = Plan {
        calls: (0..6)
            .map(|id| Offered {
                id,
                at: Duration::from_millis(id as u64),
            })
            .collect(),
        deadline: Duration::from_millis(300),
        stream: true,
        max_tokens: None,
    };
    let target = Target {
        client: client(),
        url: format!("http://{address}/v1").parse().unwrap(),
        model: "any".to_owned(),
        key: None,
    };
    let ends = Ends::default();
    let report = drive(&plan, &target, &ends).await.unwrap();
    handle.stop(false).await;
    drop(serving);
    let mut seen = ends.0.take();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    assert_eq!((report.offered, report.served), (6, 1));
    let shed: Vec<_> = report.shed.into_iter().collect();
    assert_eq!(shed, [("busy".to_owned(), 1), ("queue_full".to_owned(), 1)]);
    let failed: Vec<_> = report.failed.into_iter().collect();
    let expected = ["broken", "no_answer", "status_500"].map(|cause| (cause.to_owned(), 1));
    assert_eq!(failed, expected);
    assert!((report.success_of_admitted - 0.25).abs() < 1e-9);
    assert!(report.first_part.is_some());
}

#[actix::test]
async fn a_service_that_is_not_there_fails_calls_and_not_the_load() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let plan = Plan::poisson(
        (20.0, 20.0),
        Duration::from_millis(200),
        Duration::from_secs(5),
        1,
    );
    let plan = plan.unwrap();
    let target = Target {
        client: client(),
        url: format!("http://{address}/v1").parse().unwrap(),
        model: "any".to_owned(),
        key: None,
    };
    let report = drive(&plan, &target, &Ends::default()).await.unwrap();
    assert_eq!(report.served, 0);
    assert_eq!(report.failed.get("connect"), Some(&plan.calls.len()));
}
