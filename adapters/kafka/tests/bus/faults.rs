//! An outbox in front of a server that hangs, is killed and comes back while messages are put in.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kebne_event_bus::{
    EventBus as _, Message, Outbox, OutboxParts, OutboxSettings, Relay, Subscription,
};
use kebne_kafka::KafkaBus;

use crate::server::{Server, connected};

/// The messages that are put in.
const MESSAGES: u32 = 3000;
/// The keys among which they are divided.
const KEYS: u32 = 10;
/// The longest time that putting a message in may take: the thread of the outbox writes to disk, on a machine that may be busy.
const PUT_MAX: Duration = Duration::from_secs(2);

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_the_server_hangs_dies_and_comes_back() {
    let mut server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let outbox = Outbox::start(OutboxParts {
        settings: OutboxSettings {
            path: folder.path().join("events.sqlite"),
            ..OutboxSettings::default()
        },
        keyring: None,
    })
    .unwrap();
    let bus = Arc::new(KafkaBus::new(server.options()));
    connected(&bus).await;
    let relay = Relay::new(outbox.clone(), bus.clone());
    let counts = relay.counts();
    let relaying = tokio::spawn(relay.run());
    let emitter = outbox.clone();
    let emitting = tokio::task::spawn_blocking(move || {
        let mut slowest = Duration::ZERO;
        for number in 0..MESSAGES {
            let key = format!("k{}", number % KEYS);
            let before = Instant::now();
            emitter.put(Message::new(
                number.to_string(),
                format!("load.{key}"),
                key,
                "{}",
            ));
            slowest = slowest.max(before.elapsed());
            std::thread::sleep(Duration::from_millis(3));
        }
        slowest
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.signal("STOP");
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.signal("CONT");
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.restart();
    let slowest = emitting.await.unwrap();
    assert!(slowest < PUT_MAX, "{slowest:?}");
    let since = Instant::now();
    while outbox.counts().waiting > 0 {
        assert!(
            since.elapsed() < Duration::from_mins(2),
            "{:?} {:?}",
            outbox.counts(),
            counts.report()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let report = counts.report();
    assert!(report.failures > 0, "{report:?}");
    assert_eq!(report.published + report.duplicates, u64::from(MESSAGES));
    relaying.abort();
    read_all(&bus).await;
}

/// Reads the topic: each message once, those of each key in their order.
async fn read_all(bus: &KafkaBus) {
    let subscription = Subscription::new("reader", "load.>");
    let mut reader = bus.subscribe(subscription).await.unwrap();
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    let mut count = 0;
    loop {
        let pulled = reader.pull(500, Duration::from_secs(1)).await.unwrap();
        if pulled.is_empty() {
            break;
        }
        for delivery in pulled {
            let number: u32 = delivery.message.id.parse().unwrap();
            let before = last.insert(delivery.message.key.clone(), number);
            assert!(
                before.is_none_or(|before| before < number),
                "{number} after {before:?}"
            );
            delivery.acknowledge().await.unwrap();
            count += 1;
        }
    }
    assert_eq!(count, MESSAGES);
}
