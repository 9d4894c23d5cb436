//! A server that refuses fields, and what it gets from the second call on.

use std::net::Ipv4Addr;

use kebne_lane::Attempt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::*;
use crate::{
    backend::wire::{attempt, build, try_once, whole},
    llm::Endpoint,
};

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;

/// Returns the refusal of a request by a server that knows only some fields.
fn refusal_of(request: &Value) -> Option<Value> {
    let refuse = |text: String, param: Option<&str>| {
        let error = json!({"message": text, "type": "invalid_request_error", "param": param});
        Some(json!({"error": error}))
    };
    for name in ["max_tokens", "reasoning_effort"] {
        if request.get(name).is_some() {
            let text = format!("Unsupported parameter: '{name}' is not supported with this model.");
            return refuse(text, Some(name));
        }
    }
    let messages = request["messages"].as_array()?;
    let mut reasoning = messages
        .iter()
        .filter(|message| message.get("reasoning_content").is_some());
    reasoning.next().and_then(|_| {
        refuse(
            "property 'reasoning_content' is unsupported".to_owned(),
            None,
        )
    })
}

/// Starts a server that refuses fields; sends each request that it gets.
async fn server() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = String::new();
            let request = loop {
                let mut buffer = [0; 4096];
                let count = socket.read(&mut buffer).await.unwrap();
                text += std::str::from_utf8(&buffer[..count]).unwrap();
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
                if let Some(Ok(request)) = body.map(serde_json::from_str::<Value>) {
                    break request;
                }
                assert!(count > 0, "{text}");
            };
            let (status, body) = match refusal_of(&request) {
                Some(error) => ("400 Bad Request", error.to_string()),
                None => ("200 OK", ANSWER.to_owned()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
            // A test may have ended before.
            drop(sender.send(request));
        }
    });
    (address, receiver)
}

fn call(author: Author) -> Attempt<ModelRequest> {
    let body = json!({
        "model": "m", "max_tokens": 9, "reasoning_effort": "low",
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "reasoning_content": "hm"},
            {"role": "user", "content": "q"},
        ],
    });
    let mut attempt = attempt(Endpoint::Chat, body.to_string(), false);
    attempt.request.author = author;
    attempt
}

#[tokio::test]
async fn a_translated_call_is_repeated_without_what_the_server_refuses_and_the_next_is_sent_so() {
    let (address, mut requests) = server().await;
    let backend = build("kind = 'openai'\nname = 'b'", address, "/v1");
    let answer = try_once(&backend, call(Author::Translation)).await.unwrap();
    assert_eq!(whole(answer)["choices"][0]["message"]["content"], "hi");
    let mut last = Value::Null;
    for _ in 0..4 {
        last = requests.recv().await.unwrap();
    }
    let expected = json!({
        "model": "m",
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
            {"role": "user", "content": "q"},
        ],
        "max_completion_tokens": 9,
    });
    assert_eq!(last, expected);
    try_once(&backend, call(Author::Translation)).await.unwrap();
    assert_eq!(requests.recv().await, Some(expected));
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn what_a_caller_wrote_is_sent_as_it_came() {
    let (address, mut requests) = server().await;
    let backend = build("kind = 'openai'\nname = 'b'", address, "/v1");
    for author in [Author::Caller, Author::History] {
        let failure = try_once(&backend, call(author)).await.unwrap_err();
        assert_eq!(failure.outcome, Outcome::Client);
        let request = requests.recv().await.unwrap();
        assert_eq!(request["max_tokens"], 9);
        assert!(requests.try_recv().is_err(), "{author:?}");
    }
}
