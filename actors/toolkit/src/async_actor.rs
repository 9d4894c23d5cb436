//! Actors whose handlers are `async fn`s: [`Async`] handles one message at a time, [`Reentrant`] several.
//!
//! Owns the state of such an actor and the futures of its handlers. It exists because actix hands a future the actor
//! only while it is polled, so that an `async fn` cannot borrow it across an `await`. Here the state is beside the
//! actor, and the future borrows it from there.
//!
//! | | [`Async`] | [`Reentrant`] |
//! |---|---|---|
//! | handler | `async fn handle(&mut self, message, scope)` | `async fn handle(this: Shared<Self>, message)` |
//! | at an `await` | nothing else is handled | up to `n` handlers take turns |
//! | state | borrowed for the whole handler | borrowed by [`Shared::with`] between two `await`s |
//! | asks itself, or in a circle | waits until the timeout of the ask | is answered |
//!
//! ```
//! use std::time::Duration;
//!
//! use actix::Message;
//! use kebne_actors::{ActorSystem, Async, AsyncActor, AsyncHandler, Scope};
//!
//! #[derive(Message)]
//! #[rtype(result = "u64")]
//! struct Add(u64);
//!
//! struct Sum(u64);
//!
//! impl AsyncActor for Sum {}
//!
//! impl AsyncHandler<Add> for Sum {
//!     async fn handle(&mut self, Add(n): Add, _: &Scope<Async<Self>>) -> u64 {
//!         self.0 += n;
//!         tokio::time::sleep(Duration::from_millis(1)).await;
//!         self.0
//!     }
//! }
//!
//! # actix::System::new().block_on(async {
//! let system = ActorSystem::new("example", 1);
//! let sum = system.spawn(Async::props(|| Sum(0)), "sum");
//! assert_eq!(sum.ask(Add(2), Duration::from_secs(1)).await, Ok(2));
//! # });
//! ```

mod reentrant;
mod running;
mod scope;
mod serial;

pub use reentrant::{Reentrant, ReentrantActor, ReentrantHandler, Shared};
pub use scope::Scope;
pub use serial::{Async, AsyncActor, AsyncHandler};

#[cfg(test)]
mod tests;
