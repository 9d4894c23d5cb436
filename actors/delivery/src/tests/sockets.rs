//! Over TCP, with a consumer whose side of the connection goes away and comes back.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_actors::{ActorSystem, Context, Props};
use tokio::net::TcpListener;

use crate::{Consumer, Delivery, Producer, tcp};

/// Far longer than it takes.
const LIMIT: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(20);

struct Sink(Arc<Mutex<Vec<u32>>>);

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Delivery<u32>> for Sink {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<u32>, _: &mut Context<Self>) {
        self.0.lock().unwrap().push(**delivery.message());
        delivery.confirm();
    }
}

#[actix::test]
async fn a_connection_that_breaks_loses_nothing_and_repeats_nothing() {
    let system = ActorSystem::new("test", 1);
    let producer = Producer::<u32>::builder().spawn(&system, "producer");
    let consumer = Consumer::<u32>::builder().resend_interval(SOON, SOON);
    let consumer = consumer.spawn(&system, "consumer");
    let seen = Arc::<Mutex<Vec<u32>>>::default();
    let kept = Arc::clone(&seen);
    consumer.start(&system.spawn(Props::new(move || Sink(Arc::clone(&kept))), "sink"));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut listens = tcp::listen(listener, &consumer);
    let _dials = tcp::dial(address.to_string(), &producer);
    for round in 0..3_u32 {
        for message in 0..99 {
            assert!(producer.offer(100 * round + message).is_enqueued());
        }
        // The connection breaks while messages are under way.
        drop(listens);
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(SOON).await,
            }
        };
        listens = tcp::listen(listener, &consumer);
        let last = producer.ask(100 * round + 99, LIMIT).await;
        assert_eq!(last, Ok(()), "round {round}");
    }
    assert_eq!(*seen.lock().unwrap(), (0..300).collect::<Vec<_>>());
}
