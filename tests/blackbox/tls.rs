//! TLS towards callers, and HTTP/2 in it.

use std::{
    fs,
    io::Read,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Certificate, Client, ClientBuilder, Response, StatusCode, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    certificates::Authority,
    program::{CHAT, Program, folder},
    upstream::{silent_after, upstream},
};

/// The longest wait for something that happens by itself; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// The files are looked at soon.
const SOON: &str = "check_every = \"100ms\"";

/// A gateway with TLS.
struct Gateway {
    folder: TempDir,
    program: Program,
    authority: Authority,
    runtime: Runtime,
}

impl Gateway {
    /// Starts one with further lines of `[server]`, and further tables.
    fn start(server: &str, more: &str) -> Self {
        Self::start_with(server, SOON, more, 90)
    }

    /// Starts one with further lines of `[server.tls]` and a certificate for so many days.
    fn start_with(server: &str, tls: &str, more: &str, days: u64) -> Self {
        let folder = folder();
        let authority = Authority::new("one");
        authority.sign(days).write(folder.path());
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let config = folder.path().join("kebne.toml");
        let text = format!(
            "[server]\n{server}\n[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n{tls}\n{more}"
        );
        fs::write(&config, text).unwrap();
        let mut command = Program::configured(folder.path(), &config);
        if more.is_empty() {
            command.env("KEBNE__BACKENDS__0__SIMULATION__PRESET", "instant");
        }
        let program = Program::spawn_with(&mut command, Stdio::null());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            folder,
            program,
            authority,
            runtime: runtime.enable_all().build().unwrap(),
        }
    }

    fn client(&self) -> Client {
        builder(&self.authority).build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.program.address)
    }

    fn get(&self, client: &Client, path: &str) -> reqwest::Result<Response> {
        self.runtime.block_on(client.get(self.url(path)).send())
    }

    fn text(&self, client: &Client, path: &str) -> String {
        let get = async { client.get(self.url(path)).send().await?.text().await };
        self.runtime.block_on(get).unwrap()
    }

    fn chat(&self, client: &Client, stream: bool) -> reqwest::RequestBuilder {
        let body = json!({"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": "a"}]});
        let post = client.post(self.url(CHAT)).body(body.to_string());
        post.header("content-type", "application/json")
    }

    fn await_metric(&self, client: &Client, line: &str) {
        awaited(&format!("`{line}`"), || {
            let metrics = self.text(client, "/metrics");
            metrics.lines().any(|seen| seen == line)
        });
    }
}

/// Waits until something is there.
fn awaited(what: &str, mut is_there: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_there() {
        assert!(since.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A client that trusts one authority.
fn builder(authority: &Authority) -> ClientBuilder {
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().ok();
    let root = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([root]).no_proxy()
}

fn kebne(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
    command.args(arguments).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The settings of a backend.
fn backend(url: &str) -> String {
    format!("[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\n")
}

#[test]
fn callers_with_tls_get_whole_and_streamed_answers_over_both_protocols() {
    let gateway = Gateway::start("", "");
    let old = builder(&gateway.authority).http1_only().build().unwrap();
    let clients = [(gateway.client(), Version::HTTP_2), (old, Version::HTTP_11)];
    for (client, version) in &clients {
        let answers = async {
            let whole = gateway.chat(client, false).send().await.unwrap();
            assert_eq!(
                (whole.status(), whole.version()),
                (StatusCode::OK, *version)
            );
            assert!(whole.headers().contains_key("x-request-id"));
            let whole: Value = serde_json::from_slice(&whole.bytes().await.unwrap()).unwrap();
            assert!(
                whole["choices"][0]["message"]["content"].is_string(),
                "{whole}"
            );
            let streamed = gateway.chat(client, true).send().await.unwrap();
            assert_eq!(streamed.status(), StatusCode::OK);
            let events = streamed.text().await.unwrap();
            assert!(events.trim_end().ends_with("data: [DONE]"), "{events}");
        };
        gateway.runtime.block_on(answers);
        let missing = gateway.get(client, "/nowhere").unwrap();
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
        let head = client.head(gateway.url("/healthz")).send();
        let head = gateway.runtime.block_on(head).unwrap();
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers()["content-length"], "15");
    }
    let client = &clients[0].0;
    gateway.await_metric(
        client,
        "kebne_requests_total{model=\"simulated\",ending=\"success\"} 4",
    );
    // Who trusts another authority is not served, and plain HTTP is not answered.
    let stranger = builder(&Authority::new("two")).build().unwrap();
    assert!(gateway.get(&stranger, "/healthz").unwrap_err().is_connect());
    let plain = Program::exchange(gateway.program.address, "GET", "/healthz", &[], "");
    assert!(plain.is_none(), "an answer without TLS");
    gateway.await_metric(client, "kebne_tls_handshakes_failed_total 2");
}

#[test]
fn a_renewed_certificate_is_used_by_new_connections_and_a_broken_one_by_none() {
    let gateway = Gateway::start("", "");
    let before = gateway.client();
    assert_eq!(
        gateway.get(&before, "/healthz").unwrap().status(),
        StatusCode::OK
    );
    let two = Authority::new("two");
    let is_served = |authority: &Authority| {
        let client = builder(authority).build().unwrap();
        gateway.get(&client, "/healthz").is_ok()
    };
    two.sign(90).write(gateway.folder.path());
    awaited("new certificate", || is_served(&two));
    assert!(!is_served(&gateway.authority));
    // The connection that was open goes on.
    assert_eq!(
        gateway.get(&before, "/healthz").unwrap().status(),
        StatusCode::OK
    );
    // A certificate whose key is another one changes nothing, and neither do files that are gone.
    let key = gateway.folder.path().join("key.pem");
    fs::write(&key, gateway.authority.sign(90).key).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(is_served(&two));
    fs::remove_file(&key).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(is_served(&two));
    // What is whole again is used.
    gateway.authority.sign(90).write(gateway.folder.path());
    awaited("third certificate", || is_served(&gateway.authority));
}

#[test]
fn a_reload_of_the_settings_reads_the_certificate_again() {
    let gateway = Gateway::start_with("", "check_every = \"1h\"", "", 90);
    let two = Authority::new("two");
    two.sign(90).write(gateway.folder.path());
    let client = gateway.client();
    let health = gateway.get(&client, "/healthz").unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    gateway.program.signal("HUP");
    let client = || builder(&two).build().unwrap();
    awaited("new certificate", || {
        gateway.get(&client(), "/healthz").is_ok()
    });
    // A broken pair refuses the reload as a whole.
    let key = gateway.folder.path().join("key.pem");
    fs::write(&key, "no key").unwrap();
    let client = client();
    let refused = gateway.runtime.block_on(async {
        let asked = client
            .post(gateway.url("/admin/v1/reload"))
            .send()
            .await
            .unwrap();
        (asked.status(), asked.text().await.unwrap())
    });
    assert_eq!(refused.0, StatusCode::BAD_REQUEST);
    assert!(refused.1.contains("server.tls.key"), "{}", refused.1);
}

#[test]
fn files_that_cannot_be_used_are_errors_that_name_their_key() {
    let folder = folder();
    let authority = Authority::new("one");
    authority.sign(90).write(folder.path());
    fs::write(folder.path().join("other.pem"), authority.sign(90).key).unwrap();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (cert, key, client_ca, at, why) in [
        (
            "gone.pem",
            "key.pem",
            "",
            "server.tls.cert",
            "cannot be read",
        ),
        (
            "key.pem",
            "key.pem",
            "",
            "server.tls.cert",
            "has no certificate",
        ),
        (
            "cert.pem",
            "empty.pem",
            "",
            "server.tls.key",
            "has no private key",
        ),
        (
            "cert.pem",
            "other.pem",
            "",
            "server.tls.key",
            "is not the key of the certificate",
        ),
        (
            "cert.pem",
            "key.pem",
            "empty.pem",
            "server.tls.client_ca",
            "has no certificate",
        ),
        ("cert.pem", "", "", "server.tls.key", "needs the file"),
    ] {
        let path = |file: &str| match file {
            "" => String::new(),
            file => folder.path().join(file).to_str().unwrap().to_owned(),
        };
        let (cert, key, client_ca) = (path(cert), path(key), path(client_ca));
        let variables = [
            ("KEBNE__SERVER__TLS__CERT", cert.as_str()),
            ("KEBNE__SERVER__TLS__KEY", key.as_str()),
            ("KEBNE__SERVER__TLS__CLIENT_CA", client_ca.as_str()),
        ];
        for command in ["check", "serve"] {
            let (code, said) = kebne(&[command], &variables);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains(at) && said.contains(why), "{said}");
        }
    }
}

#[test]
fn a_caller_that_resets_its_stream_has_left_and_others_on_the_connection_have_not() {
    let silent = silent_after(String::new());
    let gateway = Gateway::start("workers = 1", &backend(&silent.url));
    let client = gateway.client();
    gateway.runtime.block_on(async {
        let warm = client.get(gateway.url("/healthz")).send().await.unwrap();
        assert_eq!(warm.version(), Version::HTTP_2);
        let asked = async {
            while silent.asked.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            _ = gateway.chat(&client, false).send() => panic!("a silent server answered"),
            () = asked => {}
        }
    });
    gateway.await_metric(
        &client,
        "kebne_requests_total{model=\"simulated\",ending=\"cancelled\"} 1",
    );
    // The call to the backend ended with it.
    silent.closed.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_caller_that_leaves_a_stream_between_two_parts_has_left() {
    let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let silent = silent_after(format!("{head}{event}"));
    let gateway = Gateway::start("workers = 1", &backend(&silent.url));
    let client = gateway.client();
    gateway.runtime.block_on(async {
        let mut streamed = gateway.chat(&client, true).send().await.unwrap();
        assert_eq!(streamed.status(), StatusCode::OK);
        let part = streamed.chunk().await.unwrap().unwrap();
        assert!(part.starts_with(b"data: "), "{part:?}");
    });
    gateway.await_metric(
        &client,
        "kebne_requests_total{model=\"simulated\",ending=\"cancelled\"} 1",
    );
    silent.closed.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_caller_that_takes_nothing_of_its_answer_over_http2_is_cut_off() {
    let text = "x".repeat(2 << 20);
    let (url, _asked) = upstream(move |_| crate::upstream::whole(&text));
    let gateway = Gateway::start("workers = 1\nwrite_timeout = \"1s\"", &backend(&url));
    let client = builder(&gateway.authority).http2_initial_stream_window_size(64 << 10);
    let client = client.build().unwrap();
    gateway.runtime.block_on(async {
        let mut answer = gateway.chat(&client, false).send().await.unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (StatusCode::OK, Version::HTTP_2)
        );
        // The connection stays in use, so the kernel sees a caller that is there.
        let since = Instant::now();
        let line = "kebne_requests_total{model=\"simulated\",ending=\"cancelled\"} 1";
        loop {
            let metrics = client.get(gateway.url("/metrics")).send().await.unwrap();
            let metrics = metrics.text().await.unwrap();
            if metrics.lines().any(|seen| seen == line) {
                break;
            }
            assert!(since.elapsed() < PATIENCE, "{metrics}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let rest = async {
            while let Some(_part) = answer.chunk().await? {}
            Ok::<_, reqwest::Error>(())
        };
        assert!(rest.await.is_err(), "the answer was cut off");
    });
}

#[test]
fn bodies_are_bounded_over_http2() {
    let gateway = Gateway::start("body_size_max = \"64KiB\"\nrequest_timeout = \"1s\"", "");
    let client = gateway.client();
    let post = |body: reqwest::Body| {
        let post = client.post(gateway.url(CHAT)).body(body);
        post.header("content-type", "application/json").send()
    };
    let parts = |count: usize, pause: Duration| {
        reqwest::Body::wrap_stream(futures_util::stream::unfold(0, move |number| async move {
            tokio::time::sleep(pause).await;
            (number < count).then(|| (Ok::<_, std::io::Error>(vec![b' '; 16 << 10]), number + 1))
        }))
    };
    gateway.runtime.block_on(async {
        let announced = post(vec![b' '; 65 << 10].into()).await.unwrap();
        assert_eq!(announced.status(), StatusCode::PAYLOAD_TOO_LARGE);
        // The rest of a body that is refused while it arrives is not read.
        let refused = post(parts(1000, Duration::from_millis(1))).await;
        if let Ok(refused) = refused {
            assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
        let slow = post(parts(4, Duration::from_secs(2))).await.unwrap();
        assert_eq!(slow.status(), StatusCode::REQUEST_TIMEOUT);
        let fine = gateway.chat(&client, false).send().await.unwrap();
        assert_eq!(fine.status(), StatusCode::OK);
        let large = client
            .get(gateway.url("/healthz"))
            .header("x-large", "a".repeat(200 << 10));
        let large = large.send().await;
        assert!(large.map_or(true, |answer| answer.status().as_u16() == 431));
    });
    gateway.await_metric(&client, "kebne_body_bytes 0.0");
}

#[test]
fn a_thread_has_no_more_streams_than_connections() {
    let silent = silent_after(String::new());
    let gateway = Gateway::start("workers = 1\nconnections_max = 2", &backend(&silent.url));
    let client = gateway.client();
    gateway.runtime.block_on(async {
        let warm = client.get(gateway.url("/healthz")).send().await.unwrap();
        assert_eq!(warm.version(), Version::HTTP_2);
        let [one, two] = [(); 2].map(|()| gateway.chat(&client, false).send());
        let third = async {
            loop {
                let more = client.get(gateway.url("/healthz")).send().await;
                if let Err(error) = more {
                    return format!("{error:?}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let both = async { tokio::join!(one, two) };
        tokio::select! {
            _ = both => panic!("a silent server answered"),
            refused = third => assert!(refused.contains("REFUSED_STREAM"), "{refused}"),
        }
    });
    // Streams that have ended make room.
    awaited("room for a stream", || {
        gateway.get(&client, "/healthz").is_ok()
    });
}

#[test]
fn a_handshake_and_a_first_request_that_do_not_come_end_the_connection() {
    let gateway = Gateway::start("request_timeout = \"1s\"", "");
    let mut socket = TcpStream::connect(gateway.program.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let since = Instant::now();
    let closed = socket.read(&mut [0; 16]);
    assert!(matches!(closed, Ok(0)) || closed.is_err());
    assert!(since.elapsed() < PATIENCE, "the handshake is not bounded");
    let client = gateway.client();
    gateway.await_metric(&client, "kebne_tls_handshakes_failed_total 1");
}

#[test]
fn callers_without_a_certificate_of_the_authority_are_not_served_where_one_is_needed() {
    let gateway = Gateway::start_with("", "client_ca = \"ca.pem\"", "", 90);
    let own = gateway.authority.sign(1);
    let identity = |pair: &crate::certificates::Pair| {
        let pem = format!("{}{}", pair.cert, pair.key);
        reqwest::Identity::from_pem(pem.as_bytes()).unwrap()
    };
    let client = builder(&gateway.authority)
        .identity(identity(&own))
        .build()
        .unwrap();
    assert_eq!(
        gateway.get(&client, "/healthz").unwrap().status(),
        StatusCode::OK
    );
    assert!(gateway.get(&gateway.client(), "/healthz").is_err());
    let stranger = Authority::new("two").sign(1);
    let stranger = builder(&gateway.authority)
        .identity(identity(&stranger))
        .build()
        .unwrap();
    assert!(gateway.get(&stranger, "/healthz").is_err());
    let file = gateway.folder.path().join("own.pem");
    fs::write(&file, format!("{}{}", own.cert, own.key)).unwrap();
    let (url, file) = (gateway.url(""), file.to_str().unwrap());
    let (code, said) = kebne(
        &["health", "--url", &url, "--insecure", "--identity", file],
        &[],
    );
    assert_eq!((code, said.as_str()), (Some(0), "healthy\n"));
    let (code, _) = kebne(&["health", "--url", &url, "--insecure"], &[]);
    assert_eq!(code, Some(1));
}

#[test]
fn the_commands_that_ask_a_gateway_ask_one_with_tls() {
    let gateway = Gateway::start("", "");
    let (url, ca) = (gateway.url(""), path(gateway.folder.path(), "ca.pem"));
    let (code, said) = kebne(&["health", "--url", &url, "--ca", &ca], &[]);
    assert_eq!((code, said.as_str()), (Some(0), "healthy\n"));
    let (code, said) = kebne(&["health", "--url", &url], &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("UnknownIssuer"), "{said}");
    let (code, _) = kebne(&["health", "--url", &url, "--insecure"], &[]);
    assert_eq!(code, Some(0));
    // As a health check of a container, with the environment of the gateway.
    let listen = gateway.program.address.to_string();
    let variables = [
        ("KEBNE__SERVER__LISTEN", listen.as_str()),
        ("KEBNE__SERVER__TLS__CERT", "cert.pem"),
    ];
    let (code, said) = kebne(&["health", "--ready"], &variables);
    assert_eq!((code, said.as_str()), (Some(0), "ready\n"));
    let (code, said) = kebne(&["top", "--once", "--url", &url, "--ca", &ca], &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("simulated"), "{said}");
}

#[test]
fn a_certificate_that_expires_soon_is_an_alert_and_a_metric_says_when() {
    let gateway = Gateway::start_with("", "", "", 5);
    let client = gateway.client();
    awaited("alert", || {
        let alerts: Value = serde_json::from_str(&gateway.text(&client, "/v1/alerts")).unwrap();
        let mut active = alerts["active"].as_array().unwrap().iter();
        active.any(|alert| {
            let sentence = alert["sentence"].as_str().unwrap();
            alert["rule"] == "certificate_expires" && sentence.contains("expires in ")
        })
    });
    let metrics = gateway.text(&client, "/metrics");
    let name = "kebne_tls_certificate_expiry_timestamp_seconds ";
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    let at: f64 = line.parse().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let left = at - now.as_secs_f64();
    assert!((4.9..=5.0).contains(&(left / 86_400.0)), "{left}");
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}
