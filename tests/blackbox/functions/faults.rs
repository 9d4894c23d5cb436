//! What functions do wrong: they sleep, hang, die, lie, answer too much, or lead elsewhere.

use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{call, count, function, function_that, hello, next, settings, start};
use crate::{guards::http, program::folder};

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

#[test]
fn a_function_that_is_scaled_to_zero_is_waited_for_and_runs_once() {
    let began = Instant::now();
    let (folder, (url, asked)) = (
        folder(),
        function_that(move |_, socket| {
            let answer = if began.elapsed() < Duration::from_secs(2) {
                status("503 Service Unavailable")
            } else {
                http("application/json", "\"awake\"")
            };
            socket.write_all(answer.as_bytes())
        }),
    );
    let program = start(folder.path(), &settings(&url, ""));
    let answer = call(&program, "f", &hello());
    assert_eq!((answer.status, answer.body.as_str()), (200, "\"awake\""));
    // All attempts of a call have its id.
    let id = answer.header("x-request-id").unwrap();
    let attempts: Vec<_> = asked.try_iter().collect();
    assert!(attempts.len() > 1);
    assert!(
        attempts
            .iter()
            .all(|one| one.header("x-request-id") == Some(id))
    );
}

#[test]
fn only_a_function_that_permits_it_is_called_again_after_a_failure() {
    for (more, line, is_repeated) in [
        ("", "500 Internal Server Error", false),
        ("", "502 Bad Gateway", false),
        ("", "504 Gateway Timeout", false),
        ("cold_statuses = [502]\n", "502 Bad Gateway", true),
        ("read_only = true\n", "500 Internal Server Error", true),
        ("idempotent = true\n", "502 Bad Gateway", true),
    ] {
        let (folder, (url, asked)) = (
            folder(),
            function_that(move |number, socket| {
                let answer = match number {
                    0 => status(line),
                    _ => http("application/json", "1"),
                };
                socket.write_all(answer.as_bytes())
            }),
        );
        let program = start(folder.path(), &settings(&url, more));
        let answer = call(&program, "f", &hello());
        assert_eq!(
            answer.status == 200,
            is_repeated,
            "{more}{line}: {}",
            answer.body
        );
        let calls = if is_repeated { 2 } else { 1 };
        assert_eq!(count(&asked), calls, "{more}{line}");
    }
}

#[test]
fn a_function_that_hangs_costs_its_timeout_and_no_other_call() {
    let (folder, (url, _asked)) = (
        folder(),
        function_that(|number, socket| {
            if number == 0 {
                thread::sleep(Duration::from_mins(1));
            }
            socket.write_all(http("application/json", "1").as_bytes())
        }),
    );
    let program = start(
        folder.path(),
        &settings(&url, "timeout = \"300ms\"\nwake_timeout = \"300ms\"\n"),
    );
    let answer = call(&program, "f", &hello());
    assert_eq!(answer.status, 504, "{}", answer.body);
    let answer = call(&program, "f", &hello());
    assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
}

#[test]
fn a_function_that_dies_in_its_answer_is_an_error_and_nothing_of_it_is_passed_on() {
    let (folder, (url, asked)) = (
        folder(),
        function_that(|_, socket| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":";
            socket.write_all(head.as_bytes())
        }),
    );
    let program = start(folder.path(), &settings(&url, ""));
    let answer = call(&program, "f", &hello());
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(!answer.body.contains("half"), "{}", answer.body);
    assert_eq!(count(&asked), 1);
}

#[test]
fn an_answer_that_is_no_json_or_too_large_is_an_error_whatever_it_is_labelled() {
    let (folder, (url, asked)) = (
        folder(),
        function_that(|number, socket| {
            let answer = match number {
                0 => http("application/json", "<html>an error page</html>"),
                1 => http("image/png", "\u{1}\u{2}"),
                2 => http("application/json", "{\"cut\": "),
                _ => http("application/json", &format!("\"{}\"", "x".repeat(5000))),
            };
            socket.write_all(answer.as_bytes())
        }),
    );
    let program = start(
        folder.path(),
        &settings(&url, "answer_size_max = \"4KiB\"\n"),
    );
    for expected in [
        "the backend's answer cannot be read",
        "the backend's answer cannot be read",
        "the backend's answer is incomplete",
        "the backend's answer is larger than this gateway accepts",
    ] {
        let answer = call(&program, "f", &hello());
        assert_eq!(answer.status, 502, "{}", answer.body);
        assert_eq!(answer.json()["error"]["message"], expected);
        assert!(
            !answer.body.contains("html") && !answer.body.contains("127.0.0.1"),
            "{}",
            answer.body
        );
    }
    assert_eq!(count(&asked), 4);
}

#[test]
fn a_redirect_to_another_server_is_not_followed_because_the_key_would_go_along() {
    let (elsewhere, stolen) = function(|_| json!("stolen"));
    let (folder, (url, _asked)) = (
        folder(),
        function_that(move |_, socket| {
            let head = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            socket.write_all(head.as_bytes())
        }),
    );
    let program = start(folder.path(), &settings(&url, ""));
    let answer = call(&program, "f", &hello());
    assert_eq!(answer.status, 502, "{}", answer.body);
    let message = "the backend redirects to another address";
    assert_eq!(answer.json()["error"]["message"], message);
    assert_eq!(count(&stolen), 0);
}

#[test]
fn what_a_function_says_of_a_wrong_input_reaches_the_caller_and_harms_no_other() {
    let (folder, (url, asked)) = (
        folder(),
        function_that(|number, socket| {
            let body = r#"{"field":"text","problem":"is empty"}"#;
            let answer = match number {
                0 => format!(
                    "HTTP/1.1 422 Unprocessable\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                ),
                _ => http("application/json", "1"),
            };
            socket.write_all(answer.as_bytes())
        }),
    );
    let program = start(folder.path(), &settings(&url, "idempotent = true\n"));
    let answer = call(&program, "f", &json!({"text": ""}));
    assert_eq!(answer.status, 422, "{}", answer.body);
    let details = json!({"field": "text", "problem": "is empty"});
    assert_eq!(
        answer.json()["error"]["details"],
        details,
        "{}",
        answer.body
    );
    next(&asked);
    assert_eq!(call(&program, "f", &hello()).status, 200);
    assert_eq!(count(&asked), 1);
}

#[test]
fn a_refusal_of_the_function_keeps_its_status_and_its_words() {
    // The status of the function, its body, and what the caller gets.
    const CASES: [(&str, &str, u16, &str); 7] = [
        (
            "404 Not Found",
            r#"{"message":"no such order"}"#,
            404,
            "no such order",
        ),
        (
            "404 Not Found",
            r#"{"detail":"no such order"}"#,
            404,
            "no such order",
        ),
        (
            "402 Payment Required",
            r#"{"message":"no card"}"#,
            402,
            "no card",
        ),
        (
            "422 Unprocessable",
            "the text is empty",
            422,
            "the text is empty",
        ),
        ("409 Conflict", "", 409, "the function refuses its input"),
        ("404 Not Found", "<html>", 502, "backend_misconfigured"),
        (
            "401 Unauthorized",
            r#"{"message":"bad key"}"#,
            502,
            "backend_misconfigured",
        ),
    ];
    let (folder, (url, _asked)) = (
        folder(),
        function_that(|number, socket| {
            let (status, body, ..) = CASES[number];
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            socket.write_all(answer.as_bytes())
        }),
    );
    let program = start(folder.path(), &settings(&url, ""));
    for (status, body, expected, text) in CASES {
        let answer = call(&program, "f", &hello());
        assert_eq!(answer.status, expected, "{status} {body}: {}", answer.body);
        assert!(
            answer.body.contains(text),
            "{status} {body}: {}",
            answer.body
        );
        let has_details = answer.json()["error"].get("details").is_some();
        assert_eq!(
            has_details,
            expected < 500,
            "{status} {body}: {}",
            answer.body
        );
    }
}

#[test]
fn the_limit_of_calls_at_once_holds() {
    let (folder, (url, _asked)) = (
        folder(),
        function_that(|_, socket| {
            static RUNNING: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
            let running = RUNNING.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            thread::sleep(Duration::from_millis(50));
            RUNNING.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            socket.write_all(http("application/json", &running.to_string()).as_bytes())
        }),
    );
    let program = start(folder.path(), &settings(&url, "concurrency = 1\n"));
    thread::scope(|scope| {
        let calls: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| call(&program, "f", &hello())))
            .collect();
        for one in calls {
            let answer = one.join().unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
        }
    });
}
