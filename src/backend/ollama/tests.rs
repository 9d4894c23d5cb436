//! The client against a server on a real socket that lists its loaded models.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::*;
use crate::backend::wire::{build, chat, try_once, whole};

const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
const OLLAMA: &str = "kind = 'ollama'\nmodel = 'Llama3'";

/// What was asked for, in order.
type Lines = Arc<Mutex<Vec<String>>>;

/// A server that answers calls, and `GET` with a status and a list.
async fn server(status: &'static str, list: &'static str) -> (SocketAddr, Lines) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let lines = Lines::default();
    let seen = Arc::clone(&lines);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut socket = BufReader::new(socket);
            let (mut first, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                socket.read_line(&mut line).await.unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if first.is_empty() {
                    first.clone_from(&line);
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            socket.read_exact(&mut body).await.unwrap();
            let (status, body) = if first.starts_with("GET") {
                (status, list)
            } else {
                ("200 OK", ANSWER)
            };
            let path = first.rsplit_once(' ').unwrap().0.to_owned();
            seen.lock().unwrap().push(path);
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            socket
                .write_all(format!("{head}{body}").as_bytes())
                .await
                .unwrap();
        }
    });
    (address, lines)
}

fn asked(lines: &Lines) -> Vec<String> {
    std::mem::take(&mut *lines.lock().unwrap())
}

#[tokio::test]
async fn a_model_that_is_not_loaded_is_cold_until_a_call_wakes_it() {
    let list = r#"{"models":[{"name":"other:latest","model":"other:latest"}]}"#;
    let (address, lines) = server("200 OK", list).await;
    let backend = build(OLLAMA, address, "/v1");
    let failure = try_once(&backend, chat(false)).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::Cold { estimated: None });
    assert!(failure.message.contains("`Llama3`"), "{failure}");
    assert_eq!(asked(&lines), ["GET /api/ps"]);
    let mut wake = chat(false);
    wake.wake = true;
    let answer = whole(try_once(&backend, wake).await.unwrap());
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
    // It has answered just now, and so is not asked.
    try_once(&backend, chat(false)).await.unwrap();
    assert_eq!(asked(&lines), ["POST /v1/chat/completions"; 2]);
}

#[tokio::test]
async fn a_model_that_is_loaded_or_of_which_nothing_is_known_is_called() {
    for (status, list) in [
        (
            "200 OK",
            r#"{"models":[{"name":"x"},{"model":"llama3:latest","size_vram":1}]}"#,
        ),
        ("404 Not Found", "404 page not found"),
        ("200 OK", "<html>"),
        ("200 OK", "{}"),
    ] {
        let (address, lines) = server(status, list).await;
        let backend = build(OLLAMA, address, "/v1");
        try_once(&backend, chat(false)).await.unwrap();
        let expected = ["GET /api/ps", "POST /v1/chat/completions"];
        assert_eq!(asked(&lines), expected, "{list}");
    }
}

#[test]
fn a_name_without_a_tag_is_that_of_the_latest() {
    for (one, other) in [
        ("llama3", "llama3:latest"),
        ("Llama3:8B", "llama3:8b"),
        ("host:5000/ns/m", "host:5000/ns/m:latest"),
    ] {
        assert!(is_same(one, other) && is_same(other, one), "{one} {other}");
    }
    for (one, other) in [("llama3", "llama3:8b"), ("llama3", "llama"), ("", "llama3")] {
        assert!(!is_same(one, other), "{one} {other}");
    }
}
