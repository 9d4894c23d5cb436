//! Backends with certificates of a private authority, and backends that are reached through a proxy.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};

use crate::{
    certificates::{Authority, Pair},
    program::{Answer, CHAT, Program, folder},
    upstream::{upstream, whole},
};

/// Reads a head and a body of announced length; returns the head.
fn read_request(socket: &mut impl Read) -> io::Result<String> {
    let mut read = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines().map(str::to_lowercase);
            let mut length =
                lines.filter_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.next_back().unwrap_or(0) {
                return Ok(head.to_owned());
            }
        }
        match socket.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read.extend_from_slice(&part[..count]),
        }
    }
}

/// A model server with TLS; returns its URL. With an authority it requires certificates of that from its callers.
fn secure(pair: &Pair, callers: Option<&Authority>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let root = CertificateDer::from_pem_slice(authority.pem().as_bytes());
            roots.add(root.unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = Arc::new(builder.with_single_cert(vec![cert], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let config = Arc::clone(&config);
            thread::spawn(move || -> io::Result<()> {
                let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(connection, socket?);
                read_request(&mut stream)?;
                stream.write_all(whole("secure").as_bytes())?;
                stream.conn.send_close_notify();
                stream.flush()
            });
        }
    });
    format!("https://localhost:{port}/v1")
}

/// A proxy, and the heads of the requests that it got.
struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that passes everything on to `server`, whatever host is asked for. It requires `credentials` if there are any.
    fn start(server: &str, credentials: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, server) = (Arc::clone(&heads), host(server));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (seen, server) = (Arc::clone(&seen), server.clone());
                thread::spawn(move || pass_on(socket?, &seen, &server, credentials));
            }
        });
        Self { address, heads }
    }

    /// Returns the first lines of the requests that it got.
    fn lines(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        let lines = heads
            .iter()
            .map(|head| head.lines().next().unwrap().to_owned());
        lines.collect()
    }
}

fn pass_on(
    mut socket: TcpStream,
    seen: &Mutex<Vec<String>>,
    server: &str,
    credentials: Option<&str>,
) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    seen.lock().unwrap().push(text.clone());
    let given = text.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("proxy-authorization: ")
            .map(str::to_owned)
    });
    if credentials.is_some_and(|wanted| given.as_deref() != Some(&wanted.to_lowercase())) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return socket.write_all(refusal.as_bytes());
    }
    let mut upstream = TcpStream::connect(server)?;
    if text.starts_with("CONNECT ") {
        socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        upstream.write_all(&head)?;
    }
    let (mut from, mut to) = (socket.try_clone()?, upstream.try_clone()?);
    thread::spawn(move || io::copy(&mut from, &mut to));
    io::copy(&mut upstream, &mut socket).map(drop)
}

/// Returns the host and the port of a URL, as an address of this machine.
fn host(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split('/')
        .next()
        .unwrap()
        .replace("localhost", "127.0.0.1")
}

/// Starts a gateway in front of one backend.
fn gateway(folder: &Path, url: &str, more: &str, variables: &[(&str, &str)]) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\nconnect_timeout = \"2s\"\n{more}\n\
         [backends.limits]\ncold_wait_max = \"1s\"\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Program::configured(folder, &config);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.envs(variables.iter().copied());
    Program::spawn_with(&mut command, Stdio::null())
}

fn call(program: &Program) -> Answer {
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[("x-kebne-deadline-ms", "5000")], &body)
}

/// Returns the last failure of the backend.
fn failure(program: &Program) -> Value {
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    state["lanes"][0]["last_failure"].clone()
}

#[test]
fn a_backend_with_a_private_authority_needs_its_certificate() {
    let folder = folder();
    let authority = Authority::new("private");
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let url = secure(&authority.sign(30), None);
    let program = gateway(folder.path(), &url, "ca_file = \"ca.pem\"", &[]);
    let answer = call(&program);
    assert_eq!(answer.status, 200, "{}", answer.body);
    drop(program);
    let program = gateway(folder.path(), &url, "", &[]);
    assert_ne!(call(&program).status, 200);
    let failed = failure(&program).to_string();
    assert!(
        failed.contains("UnknownIssuer") && failed.contains("`ca_file`"),
        "{failed}"
    );
}

#[test]
fn a_backend_that_asks_for_a_certificate_gets_it() {
    let folder = folder();
    let authority = Authority::new("private");
    authority.sign(30).write(folder.path());
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let url = secure(&authority.sign(30), Some(&authority));
    let files =
        "ca_file = \"ca.pem\"\nclient_cert_file = \"cert.pem\"\nclient_key_file = \"key.pem\"";
    let program = gateway(folder.path(), &url, files, &[]);
    let answer = call(&program);
    assert_eq!(answer.status, 200, "{}", answer.body);
    drop(program);
    let program = gateway(folder.path(), &url, "ca_file = \"ca.pem\"", &[]);
    assert_ne!(call(&program).status, 200);
}

#[test]
fn files_of_a_backend_that_cannot_be_used_are_errors_that_name_their_key() {
    let folder = folder();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (keys, at) in [
        ("ca_file = \"gone.pem\"", "backends[0].ca_file"),
        ("ca_file = \"empty.pem\"", "backends[0].ca_file"),
        (
            "client_cert_file = \"empty.pem\"",
            "backends[0].client_cert_file",
        ),
    ] {
        let text = format!(
            "[[backends]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"https://a/v1\"\n{keys}\n"
        );
        let config = folder.path().join("kebne.toml");
        fs::write(&config, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kebne"));
        command
            .current_dir(folder.path())
            .arg("check")
            .arg("--config")
            .arg(&config);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains(at) && said.contains(".pem"), "{said}");
    }
}

#[test]
fn backends_with_and_without_tls_are_reached_through_their_proxy() {
    let folder = folder();
    let authority = Authority::new("private");
    fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let secure = secure(&authority.sign(30), None);
    let (plain, _asked) = upstream(|_| whole("plain"));
    for (url, ca, line) in [
        (
            &plain,
            "",
            format!("POST {plain}/chat/completions HTTP/1.1"),
        ),
        (
            &secure,
            "ca_file = \"ca.pem\"\n",
            format!(
                "CONNECT {} HTTP/1.1",
                host(&secure).replace("127.0.0.1", "localhost")
            ),
        ),
    ] {
        let proxy = Proxy::start(url, Some("Basic YW5uOnNlY3JldA=="));
        let own = format!("{ca}proxy = \"http://ann:secret@{}\"", proxy.address);
        let program = gateway(folder.path(), url, &own, &[]);
        let answer = call(&program);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(proxy.lines(), [line]);
        drop(program);
        // With the wrong password the backend is misconfigured, and the message says that it is the proxy.
        let wrong = format!("{ca}proxy = \"http://ann:password@{}\"", proxy.address);
        let program = gateway(folder.path(), url, &wrong, &[]);
        assert_eq!(
            call(&program).code(),
            (502, "backend_misconfigured".to_owned())
        );
        let failed = failure(&program).to_string();
        assert!(
            failed.contains(&proxy.address) && !failed.contains("password@"),
            "{failed}"
        );
        drop(program);
        // A proxy that is not there.
        let gone = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let program = gateway(
            folder.path(),
            url,
            &format!("{ca}proxy = \"http://{gone}\""),
            &[],
        );
        assert_ne!(call(&program).status, 200);
        let failed = failure(&program).to_string();
        let through = format!("through the proxy `http://{gone}");
        assert!(failed.contains(&through), "{failed}");
    }
}

#[test]
fn the_proxy_of_the_environment_is_used_except_on_this_machine_and_where_it_is_declined() {
    let folder = folder();
    let (plain, _asked) = upstream(|_| whole("plain"));
    let proxy = Proxy::start(&plain, None);
    let address = format!("http://{}", proxy.address);
    let variables = [("HTTP_PROXY", address.as_str())];
    let program = gateway(folder.path(), "http://model.test/v1", "", &variables);
    assert_eq!(call(&program).status, 200);
    let line = "POST http://model.test/v1/chat/completions HTTP/1.1";
    assert_eq!(proxy.lines(), [line]);
    drop(program);
    let program = gateway(folder.path(), &plain, "", &variables);
    assert_eq!(call(&program).status, 200);
    assert_eq!(proxy.lines().len(), 1, "a server on this machine");
    drop(program);
    let program = gateway(folder.path(), &plain, "proxy = \"none\"", &variables);
    assert_eq!(call(&program).status, 200);
    assert_eq!(proxy.lines().len(), 1, "declined");
}
