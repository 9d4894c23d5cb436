//! Reliable delivery between actors on different nodes, after Pekko's `ProducerController` and `ConsumerController`.
//!
//! A [`Producer`] numbers its messages and keeps them until they are confirmed. A [`Consumer`] puts them in order,
//! drops duplicates, asks for what is missing, and delivers them one at a time to an actor, which confirms each. The consumer
//! decides how many messages may be under way: its window. Between the two is a [`Link`], any bus or connection, which may
//! lose, repeat and reorder what it is given.
//!
//! ```
//! use std::time::Duration;
//!
//! use actix::{Actor, Handler};
//! use kebne_actors::{ActorSystem, Context, Props};
//! use kebne_delivery::{Consumer, Delivery, Producer, connect};
//!
//! struct Printer;
//!
//! impl Actor for Printer {
//!     type Context = Context<Self>;
//! }
//!
//! impl Handler<Delivery<String>> for Printer {
//!     type Result = ();
//!
//!     fn handle(&mut self, delivery: Delivery<String>, _: &mut Context<Self>) {
//!         println!("{}: {}", delivery.sequence(), delivery.message());
//!         delivery.confirm();
//!     }
//! }
//!
//! # actix::System::new().block_on(async {
//! let system = ActorSystem::new("orders", 1);
//! let producer = Producer::builder().spawn(&system, "producer");
//! let consumer = Consumer::builder().window(20).spawn(&system, "consumer");
//! connect(&producer, &consumer);
//! consumer.start(&system.spawn(Props::new(|| Printer), "printer"));
//!
//! // Returns when the printer has confirmed it.
//! let order = "two coffees".to_owned();
//! assert_eq!(producer.ask(order, Duration::from_secs(1)).await, Ok(()));
//! # });
//! ```
//!
//! Each message is handled at least once: again if the actor lost it before it confirmed it, or if a consumer started anew.
//! As long as neither side starts anew, no message is delivered again after it was confirmed, and all come in their order.
//!
//! What differs from Pekko:
//! - Messages that come early are kept within the window. Pekko drops them and has them sent again.
//! - A message that waits at the consumer for its actor is not sent again while the consumer is silent.
//! - A delivery that is dropped is delivered again at once. Pekko delivers it again when the actor registers anew.
//! - There is no durable queue: what is not confirmed is lost with the producer's process. Keep it where it comes from until its
//!   receipt shows that it is confirmed, such as in an event-sourced actor of `kebne-persistence`.
//! - There are neither chunks of large messages nor flow control without resending.
//! - A producer has one consumer. For many, use work pulling on one node, or a producer for each.
//!
//! | module | owns |
//! |---|---|
//! | [`producer`] | the sending side: buffer, receipts, requests for the next message |
//! | [`consumer`] | the receiving side: window, deliveries, what is asked for again |
//! | [`frame`] | what the two send each other |
//! | [`link`] | the trait of what is between them |
//! | `tcp` | a link over TCP |

pub mod consumer;
pub mod frame;
pub mod link;
pub mod producer;
mod receiving;
mod sending;
#[cfg(feature = "tcp")]
pub mod tcp;

pub use consumer::{Consumer, ConsumerBuilder, Delivery};
pub use frame::{ToConsumer, ToProducer};
pub use link::Link;
pub use producer::{DeliveryError, Producer, ProducerBuilder, Receipt, RequestNext};

/// Connects both within one process.
pub fn connect<T: Send + Sync + 'static>(producer: &Producer<T>, consumer: &Consumer<T>) {
    let to_consumer = consumer.clone();
    producer.connect(move |frame| to_consumer.receive(frame));
    let to_producer = producer.clone();
    consumer.connect(move |frame| to_producer.receive(frame));
}

/// Compiles and runs the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
