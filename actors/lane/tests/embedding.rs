//! The example of embedding does what it shows, within the length that was promised.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "../examples/embed.rs"]
mod embed;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// Callers at once: ten for each seat that the geocoder has.
const CALLERS: usize = 40;

fn locate(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let timeout = Some(Duration::from_mins(1));
    socket.set_read_timeout(timeout).unwrap();
    let request = "GET /kiruna HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[actix::test]
async fn every_caller_is_answered_by_a_backend_that_refuses_most_of_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (server, lane) = embed::serve(listener).await.unwrap();
    let handle = server.handle();
    actix::spawn(server);
    let callers = (0..CALLERS).map(|_| tokio::task::spawn_blocking(move || locate(address)));
    for answer in futures_util::future::join_all(callers).await {
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("6 degrees"), "{answer}");
    }
    let endings = lane.endings();
    assert_eq!(endings.calls, CALLERS as u64);
    handle.stop(true).await;
    // The lane notes the end of an attempt after its caller has the answer.
    let idle = tokio::time::timeout(Duration::from_secs(20), lane.when_idle());
    idle.await.unwrap();
    assert_eq!(lane.live(), 0);
}

#[test]
fn the_example_is_short() {
    let lines = include_str!("../examples/embed.rs").lines().count();
    assert!(lines < 60, "{lines} lines");
}
