//! Calls that come back to the gateway that has sent them, by a route's service, a backend, a guard, an embedder, a hook or another gateway.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{in_front_of, read_parts, upstream, whole},
};

/// The time within which a loop must be refused: far less than any deadline, and more than a busy machine needs.
const AT_ONCE: Duration = Duration::from_secs(15);

/// An address that is known before the program behind it is. It passes bytes on as they are.
struct Relay {
    url: String,
    to: Arc<OnceLock<SocketAddr>>,
    /// The requests that were made.
    passed: Arc<AtomicU64>,
}

impl Relay {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            url: format!("http://{}/v1", listener.local_addr().unwrap()),
            to: Arc::default(),
            passed: Arc::default(),
        };
        let (to, passed) = (Arc::clone(&relay.to), Arc::clone(&relay.passed));
        thread::spawn(move || {
            for from in listener.incoming() {
                let from = from.unwrap();
                let Some(target) = to.get().and_then(|to| TcpStream::connect(to).ok()) else {
                    continue;
                };
                pipe(&from, &target, &passed);
                pipe(&target, &from, &Arc::default());
            }
        });
        relay
    }

    fn leads_to(&self, program: &Program) {
        self.to.set(program.address).unwrap();
    }
}

/// Copies what one connection brings to another, and counts requests.
fn pipe(from: &TcpStream, to: &TcpStream, requests: &Arc<AtomicU64>) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let requests = Arc::clone(requests);
    thread::spawn(move || {
        let mut part = [0; 16 << 10];
        while let Ok(size) = from.read(&mut part)
            && size > 0
        {
            if part.starts_with(b"POST ") {
                requests.fetch_add(1, SeqCst);
            }
            if to.write_all(&part[..size]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok();
    });
}

fn start(folder: &Path, text: &str) -> Program {
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn backend(name: &str, url: &str) -> String {
    format!(
        "[[backends]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{url}\"\napis = [\"files\"]\n\
         [[models]]\nname = \"{name}\"\nbackends = [\"{name}\"]\n"
    )
}

fn call(program: &Program, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi"}]});
    program.send("POST", CHAT, &[], &body)
}

/// Asserts that a call is refused as a loop, and soon.
fn assert_loop(program: &Program, model: &str) {
    let since = Instant::now();
    let answer = call(program, model);
    let seen = (answer.code(), answer.header("x-kebne-reason"));
    let expected = ((508, "loop_detected".to_owned()), Some("loop_detected"));
    assert_eq!(seen, expected, "{model}: {}", answer.body);
    assert!(answer.has("x-should-retry: false"), "{}", answer.head);
    assert!(since.elapsed() < AT_ONCE, "{model}: {:?}", since.elapsed());
}

#[test]
fn a_backend_or_a_service_that_is_the_gateway_itself_is_refused_at_once_and_counted() {
    let (folder, relay) = (folder(), Relay::open());
    let text = format!(
        "{}[[routes]]\nname = \"support\"\ndefault = \"own\"\n[[routes.rules]]\nname = \"service\"\n\
         service = {{ url = \"{}\", model = \"support\" }}\n",
        backend("own", &relay.url),
        relay.url
    );
    let program = start(folder.path(), &text);
    relay.leads_to(&program);
    assert_loop(&program, "own");
    assert_eq!(relay.passed.load(SeqCst), 1, "one hop, and no retry");
    assert_loop(&program, "support");
    assert_eq!(relay.passed.load(SeqCst), 2);
    // Each has an ending: the call of the caller, and the one that came back, whose model was not read.
    program.await_metric("kebne_requests_total{model=\"own\",ending=\"error\"} 1");
    program.await_metric("kebne_requests_total{model=\"\",ending=\"error\"} 2");
    // It is this call that goes in a circle, not the backend that is ill.
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let lanes = state["lanes"].as_array().unwrap();
    assert!(
        lanes.iter().all(|lane| lane["state"] != "open"),
        "{lanes:?}"
    );
    // An operation without a model.
    let since = Instant::now();
    let form = "--x\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n\
        --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--x--\r\n";
    let headers = [("content-type", "multipart/form-data; boundary=x")];
    let answer = program
        .try_send("POST", "/v1/files", &headers, form)
        .unwrap();
    assert_eq!(
        answer.code(),
        (508, "loop_detected".to_owned()),
        "{}",
        answer.body
    );
    assert!(since.elapsed() < AT_ONCE);
}

#[test]
fn a_guard_or_an_embedder_that_is_the_gateway_itself_is_refused_at_once() {
    let (folder, relay) = (folder(), Relay::open());
    let text = format!(
        "[[backends]]\nname = \"simulated\"\n[[models]]\nname = \"simulated\"\nbackends = [\"simulated\"]\nguards = [\"asks\"]\n{}\
         [embedder]\nmodel = \"own\"\n[[guards]]\nname = \"asks\"\n[guards.check]\nurl = \"{}/chat/completions\"\n",
        backend("own", &relay.url),
        relay.url
    );
    let program = start(folder.path(), &text);
    relay.leads_to(&program);
    assert_loop(&program, "simulated");
    assert_eq!(relay.passed.load(SeqCst), 1);
    // A search goes by words if its embedder does not answer, and does not wait for it.
    let since = Instant::now();
    let store = program
        .send("POST", "/v1/vector_stores", &[], &json!({"name": "x"}))
        .json();
    let path = format!("/v1/vector_stores/{}/search", store["id"].as_str().unwrap());
    let found = program.send("POST", &path, &[], &json!({"query": "lake"}));
    assert_eq!(found.status, 200, "{}", found.body);
    assert!(since.elapsed() < AT_ONCE);
}

#[test]
fn a_hook_that_calls_the_backend_that_it_wakes_is_refused_at_once() {
    let (folder, relay) = (folder(), Relay::open());
    let text = format!(
        "{}[backends.hooks]\nidle_timeout = \"0s\"\n[backends.hooks.wake]\nurl = \"{}/chat/completions\"\n\
         headers = {{ content-type = \"application/json\" }}\n\
         body = '{{\"model\": \"own\", \"messages\": [{{\"role\": \"user\", \"content\": \"a\"}}]}}'\n",
        "[[backends]]\nname = \"own\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n",
        relay.url
    );
    let program = start(folder.path(), &text);
    relay.leads_to(&program);
    let since = Instant::now();
    let answer = call(&program, "own");
    assert_eq!(
        answer.code(),
        (503, "server_fails".to_owned()),
        "{}",
        answer.body
    );
    assert!(since.elapsed() < AT_ONCE, "{:?}", since.elapsed());
    let state = program.send("GET", "/state", &[], &Value::Null).body;
    assert!(state.contains("508"), "{state}");
}

/// A model server that passes on the heads of its requests.
fn model_with_heads() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, heads) = channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            tell.send(read_parts(&socket).0).ok();
            socket.write_all(whole("ok").as_bytes()).ok();
        }
    });
    (url, heads)
}

/// Returns the values of a header, in their order.
fn lines(head: &str, name: &str) -> Vec<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let lines = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
    lines.map(|(_, value)| value.trim().to_owned()).collect()
}

#[test]
fn a_call_may_come_through_other_gateways_and_names_them() {
    let (url, heads) = model_with_heads();
    let (inner_folder, outer_folder) = (folder(), folder());
    let back = Relay::open();
    let inner = format!("{}{}", backend("m", &url), backend("back", &back.url));
    let inner = start(inner_folder.path(), &inner);
    let inner_url = format!("http://{}/v1", inner.address);
    let outer = format!(
        "{}{}",
        backend("m", &inner_url),
        backend("back", &inner_url)
    );
    let outer = start(outer_folder.path(), &outer);
    back.leads_to(&outer);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    let sent = [
        ("via", "1.1 proxy"),
        ("anthropic-beta", "context-1m"),
        ("anthropic-beta", "fast-mode"),
        ("baggage", "a=b"),
        ("baggage", "c=d"),
    ];
    let answer = outer.send("POST", CHAT, &sent, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let head = heads.recv_timeout(Duration::from_secs(30)).unwrap();
    let via = lines(&head, "via");
    assert_eq!((via.len(), via[0].as_str()), (3, "1.1 proxy"), "{head}");
    assert!(
        via[1..].iter().all(|own| own.starts_with("1.1 kebne-")),
        "{via:?}"
    );
    assert_ne!(via[1], via[2]);
    // Every line of a repeated header goes through both.
    assert_eq!(lines(&head, "anthropic-beta"), ["context-1m", "fast-mode"]);
    assert_eq!(lines(&head, "baggage"), ["a=b", "c=d"]);
    // A name of another process is nothing to this one.
    let answer = inner.send("POST", CHAT, &[("via", via[1].as_str())], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    heads.recv_timeout(Duration::from_secs(30)).unwrap();
    // The outer gateway calls the inner one, which calls the outer one.
    assert_loop(&outer, "back");
    assert_eq!(back.passed.load(SeqCst), 1);
    // It harms no other call of the same backends.
    assert_eq!(call(&outer, "m").status, 200);
}

#[test]
fn every_line_of_a_passed_header_of_an_answer_reaches_the_caller() {
    let folder = folder();
    let (url, _requests) =
        upstream(|_| whole("hi").replacen("\r\n", "\r\nwarning: 199 a\r\nwarning: 199 b\r\n", 1));
    let more = "pass_headers = [\"warning\"]\n";
    let program = in_front_of(folder.path(), &url, more);
    let answer = call(&program, "simulated");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(lines(&answer.head, "warning"), ["199 a", "199 b"]);
}
