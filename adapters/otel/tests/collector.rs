//! Spans as a collector receives them, and collectors that take nothing.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use kebne_otel::{Options, Parent, Side, Span, Traces};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

fn options(endpoint: String) -> Options {
    Options {
        endpoint,
        headers: HashMap::from([("x-key".to_owned(), "secret".to_owned())]),
        service_name: "kebne".to_owned(),
        service_version: "1.2.3",
        queue_max: 64,
        send_every: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
    }
}

fn span(number: u8) -> Span {
    Span {
        name: "chat m".into(),
        side: Side::Server,
        trace_id: [7; 16],
        span_id: [number; 8],
        parent: Some(Parent {
            span_id: [9; 8],
            is_remote: true,
        }),
        start: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        end: SystemTime::UNIX_EPOCH + Duration::from_secs(3),
        attributes: vec![("gen_ai.request.model", "m".into())],
        error: Some("timeout".into()),
    }
}

/// Reads one request; returns its head and its body.
fn read(socket: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head, body)
}

#[test]
fn a_collector_receives_the_spans_in_protobuf() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            sender.send(read(&socket)).unwrap();
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    let traces = Traces::start(options(format!("http://{address}"))).unwrap();
    traces.export(span(1));
    let (head, body) = received.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(head.starts_with("post /v1/traces "), "{head}");
    assert!(head.contains("x-key: secret"), "{head}");
    let request = ExportTraceServiceRequest::decode(&*body).unwrap();
    let of_resource = &request.resource_spans[0];
    let resource = format!("{:?}", of_resource.resource);
    assert!(resource.contains("1.2.3"), "{resource}");
    let span = &of_resource.scope_spans[0].spans[0];
    assert_eq!(
        (&*span.trace_id, &*span.span_id),
        (&[7; 16][..], &[1; 8][..])
    );
    assert_eq!(
        (&*span.parent_span_id, &*span.name),
        (&[9; 8][..], "chat m")
    );
    let took = span.end_time_unix_nano - span.start_time_unix_nano;
    assert_eq!(took, 2_000_000_000);
    assert_eq!(span.attributes[0].key, "gen_ai.request.model");
    assert_eq!(span.status.as_ref().unwrap().message, "timeout");
    assert!(traces.stop(Duration::from_secs(5)));
}

#[test]
fn a_collector_that_answers_nothing_holds_up_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = options(format!("http://{address}"));
    options.timeout = Duration::from_secs(1);
    let traces = Traces::start(options).unwrap();
    let begun = Instant::now();
    for _ in 0..10_000 {
        traces.export(span(1));
    }
    // The queue holds 64; the others are dropped at once.
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let begun = Instant::now();
    traces.stop(Duration::from_secs(2));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    drop(listener);
}
