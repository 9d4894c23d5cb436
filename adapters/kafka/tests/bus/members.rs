//! Members of one subscription in several processes, and ids that several processes publish.

use std::time::{Duration, Instant};

use kebne_event_bus::{Deliveries, Delivery, EventBus as _, Message, Published, Subscription};
use kebne_kafka::{KafkaBus, Options};

use crate::server::{Server, connected};

/// The longest wait for a message that must come: a member that is gone is missed after its session of six seconds.
const PATIENCE: Duration = Duration::from_mins(3);

fn subscription() -> Subscription {
    Subscription {
        acknowledge_within: Duration::from_secs(6),
        ..Subscription::new("shared", "load")
    }
}

async fn publish(bus: &KafkaBus, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let key = format!("k{}", number % 7);
        let message = Message::new(number.to_string(), "load", key, "{}");
        assert_eq!(bus.publish(message).await, Ok(Published::Stored));
    }
}

async fn take(deliveries: &mut dyn Deliveries, count: usize) -> Vec<Delivery> {
    let (since, mut taken) = (Instant::now(), Vec::new());
    while taken.len() < count {
        assert!(since.elapsed() < PATIENCE, "{} of {count}", taken.len());
        let pulled = deliveries.pull(count - taken.len(), Duration::from_secs(1));
        taken.extend(pulled.await.unwrap());
    }
    taken
}

fn numbers(taken: &[Delivery]) -> Vec<u32> {
    let ids = taken.iter().map(|one| one.message.id.parse().unwrap());
    let mut ids: Vec<u32> = ids.collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn the_next_member_gets_what_was_not_acknowledged_and_nothing_else() {
    let server = Server::start();
    let first = KafkaBus::new(server.options());
    connected(&first).await;
    publish(&first, 0..100).await;
    let mut deliveries = first.subscribe(subscription()).await.unwrap();
    for delivery in take(&mut *deliveries, 100).await {
        let number: u32 = delivery.message.id.parse().unwrap();
        if !number.is_multiple_of(3) {
            delivery.acknowledge().await.unwrap();
        }
    }
    drop(deliveries);
    first.close().await;
    let second = KafkaBus::new(server.options());
    let mut deliveries = second.subscribe(subscription()).await.unwrap();
    let taken = take(&mut *deliveries, 34).await;
    assert_eq!(numbers(&taken), (0..100).step_by(3).collect::<Vec<_>>());
    // It was handed out once before.
    assert!(taken.iter().all(|one| one.attempt == 2), "{taken:?}");
    for delivery in taken {
        delivery.acknowledge().await.unwrap();
    }
    let more = deliveries.pull(10, Duration::from_secs(1)).await.unwrap();
    assert!(more.is_empty(), "{more:?}");
}

#[tokio::test]
async fn members_share_the_messages_and_take_over_from_one_that_is_gone() {
    let server = Server::start();
    let publisher = KafkaBus::new(server.options());
    connected(&publisher).await;
    let (one, other) = (
        KafkaBus::new(server.options()),
        KafkaBus::new(server.options()),
    );
    let mut first = one.subscribe(subscription()).await.unwrap();
    let mut second = other.subscribe(subscription()).await.unwrap();
    // Both have partitions when both get messages.
    let (mut next, since) = (0, Instant::now());
    let mut held = Vec::new();
    loop {
        publish(&publisher, next..next + 20).await;
        next += 20;
        let of_first = first.pull(20, Duration::from_secs(1)).await.unwrap();
        let of_second = second.pull(20, Duration::from_secs(1)).await.unwrap();
        let both = !of_first.is_empty() && !of_second.is_empty();
        for delivery in of_first {
            // It may have moved to the other one meanwhile.
            drop(delivery.acknowledge().await);
        }
        held.extend(of_second);
        if both {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "one member gets everything");
    }
    assert!(!held.is_empty());
    let expected = numbers(&held);
    // The second one goes without acknowledging anything.
    drop(held);
    drop(second);
    other.close().await;
    let (mut found, since) = (Vec::new(), Instant::now());
    while !expected.iter().all(|number| found.contains(number)) {
        assert!(since.elapsed() < PATIENCE, "{found:?} of {expected:?}");
        for delivery in first.pull(50, Duration::from_secs(1)).await.unwrap() {
            found.push(delivery.message.id.parse().unwrap());
            delivery.acknowledge().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_another_process_has_published_is_a_duplicate() {
    let server = Server::start();
    let shared = || {
        KafkaBus::new(Options {
            is_shared: true,
            ..server.options()
        })
    };
    let (one, other) = (shared(), shared());
    connected(&one).await;
    // The other one has read the topic before the message is there.
    connected(&other).await;
    publish(&one, 0..20).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for number in 0..20_u32 {
        let again = Message::new(number.to_string(), "load", "k", "{}");
        assert_eq!(other.publish(again).await, Ok(Published::Duplicate));
    }
    // One that starts later reads what is there, whether it is shared or not.
    let later = KafkaBus::new(server.options());
    let again = Message::new("7", "load", "k", "{}");
    assert_eq!(later.publish(again).await, Ok(Published::Duplicate));
}
