//! The bus against a real server, which is stopped, killed and started again.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod faults;
mod server;

use std::time::Duration;

use kebne_event_bus::{BusError, EventBus as _, Message, contract};
use kebne_nats::NatsBus;
use server::Server;

#[tokio::test]
async fn it_keeps_the_contract() {
    let server = Server::start();
    let options = server.options();
    let connect = || async {
        let bus = NatsBus::connect(options.clone()).await;
        let bus = bus.map_err(|error| error.to_string())?;
        server::connected(&bus).await;
        Ok(bus)
    };
    contract::check(&connect, "contract").await.unwrap();
}

#[tokio::test]
async fn without_a_server_everything_fails_at_once() {
    let mut server = Server::start();
    server.kill();
    let bus = NatsBus::connect(server.options()).await.unwrap();
    let message = Message::new("1", "a", "k", "{}");
    let published = tokio::time::timeout(Duration::from_secs(1), bus.publish(message)).await;
    assert!(matches!(published, Ok(Err(BusError::Unavailable(_)))));
}

#[tokio::test]
async fn a_message_larger_than_the_server_takes_is_refused() {
    let server = Server::start();
    let bus = NatsBus::connect(server.options()).await.unwrap();
    server::connected(&bus).await;
    let large = Message::new("1", "a", "k", vec![b'x'; 2 << 20]);
    let published = bus.publish(large).await;
    assert!(
        matches!(published, Err(BusError::Refused(_))),
        "{published:?}"
    );
}
