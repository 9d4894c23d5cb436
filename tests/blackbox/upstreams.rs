//! Model servers that lie, stall, cut, and never stop talking.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    program::{CHAT, Program, folder},
    upstream::{in_front_of, silent_after, upstream, whole},
};

const LIMITS: &str = "event_size_max = \"1KiB\"\nanswer_size_max = \"4KiB\"\n\
    limits = { attempts_max = 1, idle_timeout = \"500ms\", attempt_timeout = \"2s\", wake_timeout = \"2s\" }\n";

fn ask(program: &Program, stream: bool) -> crate::program::Answer {
    let body = json!({"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body)
}

/// Nothing is in flight and every call has its ending.
fn assert_balanced(program: &Program, calls: u64) {
    program.await_metric(r#"kebne_in_flight{lane="simulated"} 0.0"#);
    program.await_metric(r#"kebne_calls_live{lane="simulated"} 0.0"#);
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    let ended = metrics
        .lines()
        .filter(|line| line.starts_with("kebne_calls_total{"));
    let ended: u64 = ended
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(ended, calls, "{metrics}");
}

const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

fn piece(text: &str) -> String {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

#[test]
fn a_whole_answer_that_is_none_is_a_bad_gateway() {
    let lies = [
        format!("{JSON}content-length: 500\r\n\r\n{{\"choices\": ["),
        format!("{JSON}\r\nthese are not the bytes you are looking for"),
        format!("{JSON}content-length: 0\r\n\r\n"),
        format!("{JSON}\r\n{{\"x\": \"{}\"}}", "y".repeat(8192)),
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH\r\n".to_owned(),
        String::new(),
    ];
    for lie in lies {
        let folder = folder();
        let said = lie.clone();
        // A first good answer, so that a refused connection does not count as a cold start.
        let (url, _requests) = upstream(move |number| {
            if number == 0 {
                whole("yes")
            } else {
                said.clone()
            }
        });
        let program = in_front_of(folder.path(), &url, LIMITS);
        assert_eq!(ask(&program, false).status, 200);
        let answer = ask(&program, false);
        assert_eq!(
            answer.code(),
            (502, "upstream_error".to_owned()),
            "{lie}\n{}",
            answer.body
        );
        assert_balanced(&program, 2);
    }
}

#[test]
fn what_is_wrong_for_one_call_is_asked_for_once_and_costs_nobody_else() {
    const BAD: usize = 12;
    let secret = "sk-abcdefghijklmnop";
    let json = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    };
    let key = json!({"error": {"message": format!("Incorrect API key: {secret}, org-ABCDEFGH")}});
    for (said, code) in [
        (
            format!("{JSON}\r\nthese are not the bytes"),
            "upstream_error",
        ),
        (format!("{JSON}\r\n[]"), "upstream_error"),
        (
            format!("{EVENTS}data: {}\n\n", "x".repeat(8 << 10)),
            "upstream_error",
        ),
        (
            json("307 Moved\r\nlocation: http://127.0.0.1:1/", ""),
            "upstream_error",
        ),
        (json("401 No", &key.to_string()), "backend_misconfigured"),
        (json("403 No", &key.to_string()), "backend_misconfigured"),
    ] {
        let folder = folder();
        let (url, requests) = upstream(move |number| {
            if number < BAD {
                said.clone()
            } else {
                whole("yes")
            }
        });
        let more = "event_size_max = \"1KiB\"\nanswer_size_max = \"4KiB\"\n";
        let program = in_front_of(folder.path(), &url, more);
        let since = std::time::Instant::now();
        for number in 0..BAD {
            let answer = ask(&program, number % 2 == 0);
            assert_eq!(answer.code(), (502, code.to_owned()), "{}", answer.body);
            assert!(!answer.body.contains("abcdefgh"), "{}", answer.body);
            assert!(!answer.body.contains("ABCDEFGH"), "{}", answer.body);
        }
        assert_eq!(ask(&program, false).status, 200, "{code}");
        // Three attempts each would take seconds, and the breaker would have closed the lane.
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "{:?}",
            since.elapsed()
        );
        assert_eq!(requests.try_iter().count(), BAD + 1);
        assert_balanced(&program, 13);
    }
}

#[test]
fn a_stream_that_is_lost_says_so_within_itself_and_has_no_end() {
    let start = format!("{EVENTS}{}", piece("He"));
    let lost = [
        start.clone(),
        format!("{start}data: {{\"error\": {{\"message\": \"gone\"}}}}\n\n"),
        format!("{start}data: {}", "x".repeat(1 << 20)),
        format!("{start}data: these are no chunks\n\n"),
    ];
    for said in lost {
        let folder = folder();
        let (url, _requests) = upstream(move |_| said.clone());
        let program = in_front_of(folder.path(), &url, LIMITS);
        let answer = ask(&program, true);
        assert!(!answer.body.contains("[DONE]"), "{}", answer.body);
        assert!(answer.body.contains("\"error\":{"), "{}", answer.body);
        // What is wrong before the first event went out still has its status.
        if answer.status == 200 {
            assert!(
                answer.body.contains("data: {\"choices\""),
                "{}",
                answer.body
            );
        } else {
            assert_eq!(answer.code(), (502, "upstream_error".to_owned()));
        }
        assert_balanced(&program, 1);
    }
}

#[test]
fn a_backend_that_was_never_reached_is_503_in_time_and_the_cause_is_shown() {
    let bad_gateway = "HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-type: text/html\r\n\r\n<html>no</html>";
    let (proxy, _requests) = upstream(move |_| bad_gateway.to_owned());
    // A port that nobody listens on.
    let nobody = "http://user:passw0rd@127.0.0.1:9/v1?key=secret".to_owned();
    for url in [nobody, proxy] {
        let folder = folder();
        let limits = "limits = { cold_wait_max = \"1s\" }\n";
        let program = in_front_of(folder.path(), &url, limits);
        let since = std::time::Instant::now();
        for stream in [false, true] {
            let answer = ask(&program, stream);
            let expected = (503, "backend_unreachable".to_owned());
            assert_eq!(answer.code(), expected, "{url}: {}", answer.body);
            assert!(answer.head.contains("\nretry-after: "), "{}", answer.head);
        }
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "{:?}",
            since.elapsed()
        );
        let state = program.send("GET", "/state", &[], &Value::Null);
        let failure = state.json()["lanes"][0]["last_failure"].clone();
        assert_eq!(failure["reason"], "backend_unreachable", "{failure}");
        assert_ne!(failure["message"], "", "{failure}");
        assert!(!state.body.contains("passw0rd") && !state.body.contains("secret"));
        let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
        let counted = r#"kebne_failed_attempts_total{lane="simulated",class="absent",reason="backend_unreachable"}"#;
        assert!(metrics.contains(counted), "{metrics}");
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    // The socket stays open: the thread that answers sleeps before it drops it.
    let folder = folder();
    let server = silent_after(format!("{EVENTS}{}", piece("He")));
    let program = in_front_of(folder.path(), &server.url, LIMITS);
    let since = std::time::Instant::now();
    let stalled = ask(&program, true);
    assert!(
        stalled.body.contains("\"error\":{") && !stalled.body.contains("[DONE]"),
        "{}",
        stalled.body
    );
    assert!(since.elapsed() < Duration::from_secs(15));
    assert_balanced(&program, 1);
    let folder = crate::program::folder();
    let server = silent_after(String::new());
    let program = in_front_of(folder.path(), &server.url, LIMITS);
    let silent = ask(&program, false);
    assert_eq!(
        silent.code(),
        (504, "upstream_timeout".to_owned()),
        "{}",
        silent.body
    );
    assert_balanced(&program, 1);
}

#[test]
fn a_caller_that_leaves_is_left_by_the_upstream_call_too() {
    for stream in [false, true] {
        let folder = folder();
        let said = if stream {
            format!("{EVENTS}{}", piece("He"))
        } else {
            String::new()
        };
        let server = silent_after(said);
        let program = in_front_of(folder.path(), &server.url, "");
        let left = program.leave(stream, &server);
        let noticed = server.closed.recv_timeout(Duration::from_secs(20)).unwrap();
        let took = noticed.saturating_duration_since(left);
        println!("stream {stream}: the upstream call was closed {took:?} after its caller left");
        // The aim is 100 ms; a busy machine gets more.
        assert!(took < Duration::from_secs(2), "{took:?}");
        program.await_metric(r#"kebne_calls_total{lane="simulated",ending="cancelled"} 1"#);
        assert_balanced(&program, 1);
    }
}

#[test]
fn the_prompt_that_a_failed_backend_repeats_does_not_reach_the_caller() {
    let folder = folder();
    let said = json!({"error": {"message": "CUDA error while answering: the secret plan"}});
    let said = said.to_string();
    let length = said.len();
    let answer = format!(
        "HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{said}"
    );
    let (url, _requests) = upstream(move |_| answer.clone());
    let program = in_front_of(folder.path(), &url, "limits = { attempts_max = 2 }");
    for stream in [false, true] {
        let answer = ask(&program, stream);
        assert!(answer.status >= 500, "{}", answer.body);
        assert!(!answer.body.contains("secret plan"), "{}", answer.body);
    }
}
