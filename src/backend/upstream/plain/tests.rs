use std::net::Ipv4Addr;

use http::{Method, StatusCode};
use reqwest::Url;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::backend::upstream::POOL_IDLE_TIMEOUT;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

struct Server {
    listener: TcpListener,
    client: PlainClient,
    url: Url,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            listener,
            client: PlainClient::new(Duration::from_secs(5)),
            url: Url::parse(&format!("http://{address}/v1/x?y=1")).unwrap(),
        }
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    async fn send(&self, body: &[u8]) -> Result<Response, PlainError> {
        let mut request = Request::new(Upload::new(Bytes::copy_from_slice(body)));
        *request.method_mut() = Method::POST;
        let target = Plain::of(&self.url).unwrap();
        self.client.send(&target, request).await
    }

    /// Makes a call over a new connection, which is returned.
    async fn first_call(&self) -> TcpStream {
        let (response, mut socket) = tokio::join!(self.send(b"one"), async {
            let mut socket = self.accept().await;
            answer(&mut socket, b"one", ANSWER).await;
            socket
        });
        assert_eq!(whole(response.unwrap()).await, "ok");
        let waiting = tokio::time::timeout(Duration::from_millis(20), socket.read_u8()).await;
        assert!(waiting.is_err(), "the connection was not kept");
        socket
    }
}

/// Reads a request that ends with `body`, and answers it.
async fn answer(socket: &mut TcpStream, body: &[u8], answer: &[u8]) -> String {
    let mut request = Vec::new();
    while !request.ends_with(body) {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
    }
    socket.write_all(answer).await.unwrap();
    String::from_utf8(request).unwrap()
}

async fn whole(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn a_connection_is_used_for_the_next_call() {
    let server = Server::start().await;
    let mut socket = server.first_call().await;
    let (response, request) =
        tokio::join!(server.send(b"two"), answer(&mut socket, b"two", ANSWER));
    assert_eq!(whole(response.unwrap()).await, "ok");
    let host = server.url.authority();
    let expected =
        format!("POST /v1/x?y=1 HTTP/1.1\r\nhost: {host}\r\ncontent-length: 3\r\n\r\ntwo");
    assert_eq!(request, expected);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_is_not_used() {
    let server = Server::start().await;
    drop(server.first_call().await);
    // The next poll of the runtime sees the end of the connection.
    tokio::task::yield_now().await;
    server.first_call().await;
}

#[tokio::test]
async fn a_connection_with_bytes_that_were_not_requested_is_not_used() {
    let server = Server::start().await;
    let mut socket = server.first_call().await;
    socket.write_all(ANSWER).await.unwrap();
    tokio::task::yield_now().await;
    server.first_call().await;
}

#[tokio::test]
async fn a_connection_that_the_server_will_close_is_not_kept() {
    for answer_text in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more",
    ] {
        let server = Server::start().await;
        let (response, mut socket) = tokio::join!(server.send(b"x"), async {
            let mut socket = server.accept().await;
            answer(&mut socket, b"x", answer_text.as_bytes()).await;
            socket
        });
        assert_eq!(whole(response.unwrap()).await, "ok");
        let mut rest = Vec::new();
        let closed = socket.read_to_end(&mut rest).await;
        assert!(closed.is_err() || rest.is_empty(), "{answer_text}");
    }
}

#[tokio::test]
async fn a_response_that_is_dropped_closes_its_connection() {
    let server = Server::start().await;
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let (response, mut socket) = tokio::join!(server.send(b"x"), async {
        let mut socket = server.accept().await;
        answer(&mut socket, b"x", head).await;
        socket
    });
    let mut response = response.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "abc");
    drop(response);
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_the_connection() {
    let server = Server::start().await;
    let (response, ()) = tokio::join!(server.send(b"x"), async {
        let mut socket = server.accept().await;
        answer(&mut socket, b"x", b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
    });
    let response = response.unwrap();
    assert_eq!(response.content_length(), None);
    assert_eq!(whole(response).await, "all of it");
}

#[tokio::test]
async fn a_response_that_is_cut_is_an_error() {
    for text in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
    ] {
        let server = Server::start().await;
        let (response, ()) = tokio::join!(server.send(b"x"), async {
            let mut socket = server.accept().await;
            answer(&mut socket, b"x", text.as_bytes()).await;
        });
        let error = match response {
            Err(error) => error.to_string(),
            Ok(mut response) => {
                assert_eq!(response.chunk().await.unwrap().unwrap(), "ok");
                let cut = response.chunk().await.unwrap_err().to_string();
                assert!(response.chunk().await.unwrap().is_none());
                cut
            }
        };
        let expected = if text.contains("ok") {
            "error reading a body from connection"
        } else {
            "connection closed before message completed"
        };
        assert_eq!(error, expected, "{text}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_read() {
    let mut server = Server::start().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    server.listener = socket.listen(1).unwrap();
    let port = server.listener.local_addr().unwrap().port();
    server.url.set_port(Some(port)).unwrap();
    // More than the sockets take without a reader.
    let body = vec![b'x'; 64 << 20];
    let (response, _socket) = tokio::join!(server.send(&body), async {
        let mut socket = server.accept().await;
        let text = b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
        socket.write_all(text).await.unwrap();
        socket
    });
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(whole(response).await, "big");
    assert!(server.client.pools.of_thread().take().is_none());
}

#[tokio::test]
async fn a_kept_connection_is_closed_after_its_time() {
    let server = Server::start().await;
    let mut socket = server.first_call().await;
    tokio::time::pause();
    tokio::time::advance(POOL_IDLE_TIMEOUT + Duration::from_secs(1)).await;
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure_to_connect() {
    let mut server = Server::start().await;
    let port = server.url.port().unwrap();
    server.listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    assert_ne!(server.listener.local_addr().unwrap().port(), port);
    let error = server.send(b"x").await.unwrap_err();
    assert!(matches!(error, PlainError::Connect(_)), "{error}");
}

/// Counts how often a future is polled until it is ready.
async fn polls<T>(future: impl Future<Output = T>) -> (T, u32) {
    let mut future = std::pin::pin!(future);
    let mut polls = 0;
    let done = std::future::poll_fn(|task| {
        polls += 1;
        future.as_mut().poll(task)
    });
    let done = done.await;
    (done, polls)
}

#[tokio::test]
async fn a_call_is_woken_only_by_what_arrives() {
    const BEGIN: &[u8] =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n";
    const END: &[u8] = b"1\r\ne\r\n1\r\nf\r\n0\r\nx-t: y\r\n\r\n";
    let server = Server::start().await;
    let mut socket = server.first_call().await;
    // A task of its own, so that what wakes it is not counted.
    let answered = tokio::spawn(async move {
        answer(&mut socket, b"x", BEGIN).await;
        socket
    });
    let (response, of_head) = polls(server.send(b"x")).await;
    assert_eq!(of_head, 2, "one to send and one for the head");
    let mut response = response.unwrap();
    let (first, of_first) = polls(response.chunk()).await;
    assert_eq!((first.unwrap().unwrap(), of_first), ("abcd".into(), 1));
    let mut socket = answered.await.unwrap();
    let ended = tokio::spawn(async move {
        socket.write_all(END).await.unwrap();
        socket
    });
    let (rest, of_rest) = polls(response.chunk()).await;
    assert_eq!((rest.unwrap().unwrap(), of_rest), ("e".into(), 2));
    // A part that was not waited for is returned with all that follows it.
    assert_eq!(response.chunk().await.unwrap().unwrap(), "f");
    assert_eq!(response.chunk().await.unwrap(), None);
    assert!(server.client.pools.of_thread().take().is_some());
    drop(ended.await);
}

#[tokio::test]
async fn a_body_in_large_parts_is_whole_and_its_connection_is_kept() {
    let server = Server::start().await;
    let mut socket = server.first_call().await;
    let body: Vec<u8> = (0..1_000_003_u32).map(|at| at.to_le_bytes()[0]).collect();
    let send = async {
        let mut response = server.send(b"x").await.unwrap();
        assert_eq!(response.content_length(), Some(1_000_003));
        let mut read = Vec::new();
        while let Some(part) = response.chunk().await.unwrap() {
            read.extend_from_slice(&part);
        }
        read
    };
    let (read, _) = tokio::join!(send, async {
        let text = [
            b"HTTP/1.1 200 OK\r\ncontent-length: 1000003\r\n\r\n",
            &body[..],
        ];
        answer(&mut socket, b"x", &text.concat()).await
    });
    assert_eq!(read, body);
    assert!(server.client.pools.of_thread().take().is_some());
}
