//! The bus against a real broker, which is stopped, killed and started again.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod faults;
mod members;
mod server;

use std::time::Duration;

use kebne_event_bus::{BusError, EventBus as _, Message, contract};
use kebne_kafka::{KafkaBus, Options, Topics};
use server::Server;

#[tokio::test]
async fn it_keeps_the_contract() {
    let server = Server::start();
    let options = server.options();
    let connect = || async {
        let bus = KafkaBus::new(options.clone());
        server::connected(&bus).await;
        Ok(bus)
    };
    contract::check(&connect, "contract").await.unwrap();
}

#[tokio::test]
async fn without_a_broker_everything_fails_at_once() {
    let mut server = Server::start();
    server.kill();
    let bus = KafkaBus::new(server.options());
    let message = Message::new("1", "a", "k", "{}");
    let published = tokio::time::timeout(Duration::from_secs(4), bus.publish(message)).await;
    assert!(matches!(published, Ok(Err(BusError::Unavailable(_)))));
}

#[tokio::test]
async fn what_the_broker_will_never_take_is_refused() {
    let server = Server::start();
    let bus = KafkaBus::new(server.options());
    server::connected(&bus).await;
    let large = Message::new("1", "a", "k", vec![b'x'; 2 << 20]);
    let published = bus.publish(large).await;
    assert!(
        matches!(published, Err(BusError::Refused(_))),
        "{published:?}"
    );
    let named = KafkaBus::new(Options {
        topics: Topics::Named(vec!["calls".to_owned()]),
        ..server.options()
    });
    let other = named.publish(Message::new("1", "a", "k", "{}")).await;
    assert!(matches!(other, Err(BusError::Refused(_))), "{other:?}");
}
