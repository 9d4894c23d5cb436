//! What the tests of the HTTP backends share: servers on free ports, and attempts.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use kebne_lab::simulate;
use kebne_lane::{Answer, Attempt, Backend as _, Failure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net,
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::ModelBackend,
    llm::{Endpoint, ModelBody, ModelRequest, ModelResponse, StreamItem},
    settings::{BackendSettings, SimulationSettings},
};

/// A simulated model on a free port; dropping it stops it.
pub(crate) struct SimulatedServer {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl SimulatedServer {
    pub(crate) fn start(settings: &str) -> Self {
        let settings: SimulationSettings = toml::from_str(settings).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let served =
                actix_rt::System::new().block_on(simulate::serve(listener, settings, token));
            served.unwrap();
        });
        Self {
            address,
            shutdown,
            thread: Some(thread),
        }
    }

    /// Returns the server's side of the story. Each question is a connection of its own.
    pub(crate) async fn state(&self) -> serde_json::Value {
        let url = format!("http://{}/simulate/state", self.address);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let body = client.get(&url).send().await.unwrap().bytes().await;
        serde_json::from_slice(&body.unwrap()).unwrap()
    }

    /// Waits until no call is in flight; fails after a time that no machine needs.
    pub(crate) async fn becomes_idle(&self) {
        let idle = async {
            while self.state().await["in_flight"] != 0 {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), idle).await;
        waited.expect("a call leaked");
    }
}

impl Drop for SimulatedServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.thread.take().map(JoinHandle::join);
    }
}

/// A server that reads one request, answers it with a given text, and hands the request over.
pub(crate) async fn canned(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    canned_bytes(answer.as_bytes().to_vec()).await
}

/// A server that reads one request, answers it with given bytes, and hands the request over.
pub(crate) async fn canned_bytes(answer: Vec<u8>) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = socket.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&request);
            let length = text
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
            let body = text
                .split_once("\r\n\r\n")
                .map_or(0, |(_, body)| body.len());
            if length.is_some_and(|length| body >= length) || count == 0 {
                break;
            }
        }
        socket.write_all(&answer).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, served)
}

pub(crate) fn build(settings: &str, address: SocketAddr, path: &str) -> ModelBackend {
    let text = format!("base_url = 'http://{address}{path}'\n{settings}");
    let settings: BackendSettings = toml::from_str(&text).unwrap();
    let environment =
        std::collections::BTreeMap::from([("A_KEY".to_owned(), "secret\n".to_owned())]);
    ModelBackend::build(&settings, &environment).unwrap()
}

pub(crate) fn chat(stream: bool) -> Attempt<ModelRequest> {
    let body = format!(
        r#"{{ "model":"m","messages":[{{"role":"user","content":"hello"}}],"stream":{stream}}}"#
    );
    attempt(Endpoint::Chat, body, stream)
}

pub(crate) fn attempt(endpoint: Endpoint, body: String, stream: bool) -> Attempt<ModelRequest> {
    let start = body.find("\"m\"").unwrap();
    Attempt {
        request: ModelRequest {
            stream,
            ..ModelRequest::new(
                endpoint,
                Bytes::from(body),
                start..start + 3,
                Arc::from("req-7"),
            )
        },
        number: 1,
        wake: false,
        first_part_timeout: None,
        idle_timeout: Duration::from_secs(20),
        cancelled: CancellationToken::new(),
    }
}

pub(crate) fn whole(answer: Answer<ModelResponse>) -> serde_json::Value {
    let ModelBody::Whole(body) = answer.response.body else {
        panic!("a whole answer was asked for");
    };
    serde_json::from_slice(&body).unwrap()
}

/// Reads a stream to its end and waits for the end of the attempt; returns the events, and how the stream ended.
pub(crate) async fn read(answer: Answer<ModelResponse>) -> (String, StreamItem) {
    let ModelBody::Stream(mut receiver) = answer.response.body else {
        panic!("a stream was asked for");
    };
    let tail = tokio::spawn(answer.tail.unwrap());
    let mut events = String::new();
    loop {
        match receiver.recv().await.unwrap() {
            StreamItem::Events(more) => events += std::str::from_utf8(&more).unwrap(),
            last => {
                tail.await.unwrap();
                return (events, last);
            }
        }
    }
}

/// Makes an attempt that must not take forever.
pub(crate) async fn try_once(
    backend: &ModelBackend,
    attempt: Attempt<ModelRequest>,
) -> Result<Answer<ModelResponse>, Failure> {
    let made = tokio::time::timeout(Duration::from_secs(20), backend.attempt(attempt)).await;
    made.expect("the attempt hangs")
}
