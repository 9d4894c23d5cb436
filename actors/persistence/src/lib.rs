//! Event-sourced actors after Pekko Persistence.
//!
//! A command is decided by the state and leads to events; the events are written to a journal and then applied to the
//! state. At a start the state is recovered from a snapshot and the events behind it.
//!
//! A command handler has `&self` and returns an [`Effect`], and an event handler has `&mut self` and returns nothing. The
//! compiler therefore refuses a handler that changes the state without an event.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use actix::Message;
//! use kebne_actors::{ActorSystem, Context};
//! use kebne_persistence::{
//!     CommandHandler, Effect, Entity, EventSourced, Json, MemoryJournal, Persistence, ReplyEffect,
//! };
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message)]
//! #[rtype(result = "Result<u64, String>")]
//! struct Withdraw(u64);
//!
//! #[derive(Deserialize, Serialize)]
//! enum Event {
//!     Withdrawn(u64),
//! }
//!
//! struct Account {
//!     balance: u64,
//! }
//!
//! impl EventSourced for Account {
//!     type Event = Event;
//!
//!     fn apply(&mut self, Event::Withdrawn(amount): &Event) {
//!         self.balance -= amount;
//!     }
//! }
//!
//! impl CommandHandler<Withdraw> for Account {
//!     fn handle(
//!         &self,
//!         Withdraw(amount): Withdraw,
//!         _: &mut Context<Entity<Self>>,
//!     ) -> ReplyEffect<Self, Withdraw> {
//!         if amount > self.balance {
//!             return Effect::reply(Err("too much".to_owned()));
//!         }
//!         // The answer is sent when the event is in the journal.
//!         self.persist(Event::Withdrawn(amount)).then_reply(|account| Ok(account.balance))
//!     }
//! }
//!
//! # actix::System::new().block_on(async {
//! let system = ActorSystem::new("bank", 1);
//! let persistence = Persistence::new(Arc::new(MemoryJournal::default()), Json::default());
//! let props = || persistence.props("account-1", || Account { balance: 100 });
//! let second = Duration::from_secs(1);
//!
//! let account = system.spawn(props(), "account");
//! assert_eq!(account.ask(Withdraw(70), second).await, Ok(Ok(30)));
//! account.stop();
//! account.when_stopped().await;
//!
//! let again = system.spawn(props(), "account");
//! assert_eq!(again.ask(Withdraw(20), second).await, Ok(Ok(10)));
//! # });
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`journal`] | the traits of a journal and of a store of snapshots |
//! | [`memory`] | both in memory |
//! | `sqlite` | both in an SQLite file |
//! | [`codec`] | how events and states become bytes, and how old events become new ones |
//! | [`entity`] | the actor: effects, writing, recovery, snapshots |
//! | `testkit` | a journal that fails on request, and a kit that runs commands one by one |

pub mod codec;
pub mod entity;
pub mod journal;
pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use codec::{Codec, CodecError, Json};
pub use entity::{
    CommandHandler, Effect, Entity, EventSourced, Inspect, Persistence, PersistenceError,
    ReplyEffect, Retention, on_persist_failure,
};
pub use journal::{Journal, JournalError, Payload, Recorded, Snapshots, Step};
pub use memory::MemoryJournal;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteJournal;

/// Compiles and runs the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
