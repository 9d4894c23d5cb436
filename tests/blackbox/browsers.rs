//! What a browser sends on behalf of a foreign page, with the headers that browsers really send.

use std::fs;

use serde_json::Value;

use crate::program::{Answer, CHAT, Program, folder};

const CALL: &str = r#"{"model":"simulated","messages":[{"role":"user","content":"a"}]}"#;

/// Sends a request with exactly these headers besides the length.
fn send(program: &Program, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    Program::exchange_raw(
        program.address,
        &format!(
            "{method} {path} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
    .unwrap()
}

#[test]
fn a_page_that_rebinds_its_name_to_this_machine_reads_nothing() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let port = program.address.port();
    // Firefox, after the page's own name was made to point to 127.0.0.1: to the browser this is the same origin.
    let rebound = format!(
        "Host: evil.example:{port}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
         Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nReferer: http://evil.example:{port}/\r\n\
         Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n"
    );
    for path in [
        "/state",
        "/metrics",
        "/v1/models",
        "/v1/sessions",
        "/healthz",
        "/nowhere",
    ] {
        let answer = send(&program, "GET", path, &rebound, "");
        assert_eq!(
            answer.code(),
            (403, "host_not_allowed".to_owned()),
            "{path}"
        );
    }
    let posted = format!(
        "{rebound}Content-Type: application/json\r\nOrigin: http://evil.example:{port}\r\n"
    );
    let answer = send(&program, "POST", CHAT, &posted, CALL);
    assert_eq!(answer.code(), (403, "host_not_allowed".to_owned()));
    let own = format!("Host: 127.0.0.1:{port}\r\n");
    assert_eq!(send(&program, "GET", "/state", &own, "").status, 200);
}

#[test]
fn a_form_of_another_site_calls_no_model() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let port = program.address.port();
    // Chrome, submitting <form method=post enctype=text/plain action=http://127.0.0.1:…> of another site.
    let form = |origin: &str| {
        format!(
            "Host: 127.0.0.1:{port}\r\nCache-Control: max-age=0\r\n\
             sec-ch-ua: \"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
             Origin: {origin}\r\nContent-Type: text/plain\r\nUpgrade-Insecure-Requests: 1\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\r\n\
             Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
             Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
             Referer: https://evil.example/\r\n"
        )
    };
    for path in [CHAT, "/v1/sessions", "/backends/simulated/prewarm"] {
        for origin in ["https://evil.example", "null"] {
            let answer = send(&program, "POST", path, &form(origin), CALL);
            assert_eq!(
                answer.code(),
                (403, "origin_not_allowed".to_owned()),
                "{path}"
            );
        }
    }
    // A browser that sends no origin is known by its other headers, and an old one by the type of its form.
    let bare = form("x").replace("Origin: x\r\n", "");
    let answer = send(&program, "POST", CHAT, &bare, CALL);
    assert_eq!(answer.code(), (403, "origin_not_allowed".to_owned()));
    let old = bare.replace("Sec-Fetch-Site: cross-site\r\n", "");
    let answer = send(&program, "POST", CHAT, &old, CALL);
    assert_eq!(answer.code(), (415, "unsupported_content_type".to_owned()));
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    assert!(!metrics.contains("ending=\"success\"} 1"), "{metrics}");
}

#[test]
fn pages_of_other_origins_may_read_only_where_that_is_configured() {
    let folder = folder();
    let preflight = |program: &Program, origin: &str| {
        let headers = format!(
            "Host: {}\r\nAccept: */*\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type,x-kebne-deadline-ms\r\nOrigin: {origin}\r\n\
             Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: empty\r\n",
            program.address
        );
        send(program, "OPTIONS", CHAT, &headers, "")
    };
    let program = Program::start(folder.path(), &[]);
    let answer = preflight(&program, "https://app.example");
    assert_eq!(answer.status, 403);
    assert!(
        !answer.head.contains("access-control-allow-origin"),
        "{}",
        answer.head
    );
    drop(program);
    let config = folder.path().join("kebne.toml");
    fs::write(
        &config,
        "[server]\ncors_origins = [\"https://app.example\"]\n",
    )
    .unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let answer = preflight(&program, "https://app.example");
    assert_eq!(answer.status, 204, "{}", answer.head);
    for header in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: get, head, post, delete",
        "access-control-allow-headers: authorization,content-type,x-kebne-deadline-ms",
        "access-control-max-age: 600",
        "vary: access-control-request-headers",
        "vary: origin",
    ] {
        assert!(answer.has(header), "no `{header}` in {}", answer.head);
    }
    let headers = [("origin", "https://app.example")];
    let answer = program.send("GET", "/v1/models", &headers, &Value::Null);
    assert_eq!(answer.status, 200);
    assert!(answer.has("access-control-allow-origin: https://app.example"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in [
        "x-request-id",
        "retry-after",
        "x-kebne-reason",
        "x-kebne-model",
        "*",
    ] {
        assert!(exposed.split(", ").any(|known| known == name), "{exposed}");
    }
    // Cookies and other credentials of a browser are never asked for.
    assert!(!answer.head.contains("access-control-allow-credentials"));
    // A page reads errors too.
    let body = serde_json::json!({"model": "nobody's", "messages": []});
    let error = program.send("POST", CHAT, &headers, &body);
    assert_eq!(error.status, 404);
    assert!(error.has("access-control-allow-origin: https://app.example"));
    // A cache must not give a page the answer of another one, or of a program.
    assert!(error.has("vary: origin"), "{}", error.head);
    let plain = program.send("GET", "/v1/models", &[], &Value::Null);
    assert!(plain.has("vary: origin"), "{}", plain.head);
    assert!(!plain.head.contains("access-control-allow-origin"));
    assert_eq!(preflight(&program, "https://evil.example").status, 403);
}
