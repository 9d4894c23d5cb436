//! The service from outside: started on a free port, called over a socket, stopped.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::Duration,
};

use kebne::{
    service::{self, Shutdown},
    settings::{ProcessEnvironment, Settings},
    simulate::Preset,
};

struct Service {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: JoinHandle<usize>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let mut settings = Settings::default();
            settings.backends[0].simulation.preset = Preset::Instant;
            actix_rt::System::new()
                .block_on(service::run(listener, &settings, &ProcessEnvironment, stop))
                .unwrap()
        });
        Self {
            address,
            shutdown,
            thread,
        }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: kebne\r\nconnection: close\r\nx-request-id: mine\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(self) -> usize {
        self.shutdown.drain.cancel();
        self.thread.join().unwrap()
    }
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn calls_are_answered_whole_and_streamed_and_counted_once() {
    let service = Service::start();
    let whole = service.send(
        "POST",
        CHAT,
        r#"{"model":"simulated","messages":[{"role":"user","content":"hi"}]}"#,
    );
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    assert!(whole.contains("x-request-id: mine"), "{whole}");
    assert!(whole.contains("chat.completion"), "{whole}");
    let streamed = service.send(
        "POST",
        CHAT,
        r#"{"model":"simulated","stream":true,"messages":[{"role":"user","content":"hi"}]}"#,
    );
    assert!(streamed.contains("text/event-stream"), "{streamed}");
    assert!(streamed.contains("data: [DONE]\n\n"), "{streamed}");
    let metrics = service.send("GET", "/metrics", "");
    assert!(
        metrics.contains(r#"kebne_calls_total{lane="simulated",ending="success"} 2"#),
        "{metrics}"
    );
    assert_eq!(service.stop(), 0);
}

#[test]
fn bad_input_gets_the_right_status_and_all_four_keys() {
    let service = Service::start();
    let cases = [
        (
            "POST",
            CHAT,
            r#"{"model":"nope","messages":[]}"#,
            "404",
            "model_not_found",
        ),
        (
            "POST",
            CHAT,
            r#"{"messages":[]}"#,
            "400",
            r#""param":"model""#,
        ),
        ("POST", CHAT, "{", "400", "invalid_request_error"),
        ("GET", CHAT, "", "405", "invalid_request_error"),
        ("GET", "/nowhere", "", "404", "not_found"),
    ];
    for (method, path, body, status, expected) in cases {
        let answer = service.send(method, path, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {path}: {answer}"
        );
        assert!(answer.contains(expected), "{answer}");
        for key in ["\"message\"", "\"type\"", "\"param\"", "\"code\""] {
            assert!(answer.contains(key), "{answer}");
        }
    }
    assert_eq!(service.stop(), 0);
}
