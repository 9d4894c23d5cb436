//! A small upstream: answers each call at once, whole or as a stream of parts.

use std::{net::Ipv4Addr, time::Duration};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

use crate::Error;

/// The parts of a stream.
pub(crate) const PARTS: usize = 50;

/// The port on which whole answers never come, and streams never go beyond their first part.
pub(crate) const HELD: u16 = 19_303;

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"The parcel waits at the depot since Monday; ask the carrier first."},"finish_reason":"stop"}],"usage":{"prompt_tokens":80,"completion_tokens":16,"total_tokens":96}}"#;
const ANSWER_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const PART: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"depot "},"finish_reason":null}]}"#;
const LAST: &str = r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

/// Serves on two ports: streams have no pauses on the first, and `pause` between two parts on the second.
pub(crate) fn serve(ports: [u16; 2], pause: Duration) -> Error {
    let runtime = Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let plain = listen(ports[0], None);
            let paced = listen(ports[1], Some(pause));
            tokio::try_join!(plain, paced, hold()).map(drop)
        })
    });
    served.err().map_or_else(
        || Error::Failed("the upstream ended".to_owned()),
        Error::from,
    )
}

async fn listen(port: u16, pause: Option<Duration>) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that leaves ends its connection only.
            converse(socket, pause).await.ok();
        });
    }
}

/// Begins streams, answers nothing else, and keeps each connection until the other side closes it.
async fn hold() -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, HELD)).await?;
    loop {
        let (mut socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut read = Vec::with_capacity(1024);
            while socket.read_buf(&mut read).await? > 0 {
                let Some(length) = request_length(&read) else {
                    continue;
                };
                if memmem::find(&read[..length], b"\"stream\":true").is_some() {
                    let begun = format!("{STREAM_HEAD}{}", chunk(PART));
                    socket.write_all(begun.as_bytes()).await?;
                } else if read.starts_with(b"GET") {
                    let answer = format!("{ANSWER_HEAD}2\r\n\r\n{{}}");
                    socket.write_all(answer.as_bytes()).await?;
                }
                read.drain(..length);
            }
            std::io::Result::Ok(())
        });
    }
}

async fn converse(mut socket: TcpStream, pause: Option<Duration>) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let mut read = Vec::with_capacity(8192);
    loop {
        let Some(length) = request_length(&read) else {
            if socket.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let streams = memmem::find(&read[..length], b"\"stream\":true").is_some();
        read.drain(..length);
        if streams {
            stream(&mut socket, pause).await?;
        } else {
            let answer = format!("{ANSWER_HEAD}{}\r\n\r\n{ANSWER}", ANSWER.len());
            socket.write_all(answer.as_bytes()).await?;
        }
    }
}

/// Returns the length of the request at the beginning of the bytes, once it is whole.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(bytes.get(..head)?)
        .ok()?
        .to_ascii_lowercase();
    let length = text
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next());
    let whole = head
        + length
            .and_then(|length| length.parse::<usize>().ok())
            .unwrap_or(0);
    (bytes.len() >= whole).then_some(whole)
}

async fn stream(socket: &mut TcpStream, pause: Option<Duration>) -> std::io::Result<()> {
    socket.write_all(STREAM_HEAD.as_bytes()).await?;
    let part = chunk(PART);
    for number in 0..PARTS {
        if let Some(pause) = pause.filter(|_| number > 0) {
            tokio::time::sleep(pause).await;
        }
        socket.write_all(part.as_bytes()).await?;
    }
    let end = format!("{}{}0\r\n\r\n", chunk(LAST), chunk("[DONE]"));
    socket.write_all(end.as_bytes()).await
}

fn chunk(data: &str) -> String {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_with_its_body() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(request_length(head.as_bytes()), None);
        let whole = format!("{head}abcd");
        assert_eq!(request_length(whole.as_bytes()), Some(head.len() + 3));
    }
}
