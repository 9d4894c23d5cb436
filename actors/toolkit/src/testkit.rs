//! Tools for tests of actors: a probe that receives messages and answers asks, one clock for all arbiters, the effects
//! of one handler, faults from a seed, and expectations of the log.
//!
//! The feature `testkit` is meant for `[dev-dependencies]`; programs do not need it. An expectation that is not met
//! panics, as `assert!` does, and names the caller's line. Modelled on Pekko's `ActorTestKit`, `ManualTime`,
//! `BehaviorTestKit` and `LoggingTestKit`.
//!
//! ```
//! use std::time::Duration;
//!
//! use actix::{Actor, Handler, Message};
//! use kebne_actors::{
//!     ActorSystem, Context, Props, Recipient,
//!     testkit::{ManualClock, Probe},
//! };
//!
//! /// Sends its owner a beat once an hour.
//! struct Beacon(Recipient<Beat>);
//!
//! #[derive(Clone, Debug, PartialEq, Message)]
//! #[rtype(result = "()")]
//! struct Beat;
//!
//! impl Actor for Beacon {
//!     type Context = Context<Self>;
//!     fn started(&mut self, ctx: &mut Context<Self>) {
//!         ctx.start_timer_at_fixed_rate("beat", Beat, Duration::from_hours(1));
//!     }
//! }
//!
//! impl Handler<Beat> for Beacon {
//!     type Result = ();
//!     fn handle(&mut self, beat: Beat, _: &mut Context<Self>) {
//!         let _the_owner_may_be_gone = self.0.tell(beat);
//!     }
//! }
//!
//! ManualClock::run(1, async |clock| {
//!     let system = ActorSystem::new("test", 1);
//!     let mut owner = Probe::<Beat>::new(&system, "owner");
//!     let recipient = owner.recipient();
//!     let beacon = Props::new(move || Beacon(recipient.clone())).on_arbiter(clock.arbiter());
//!     system.spawn(beacon, "beacon");
//!     clock.expect_no_message_for(Duration::from_mins(59), &mut [&mut owner]).await;
//!     clock.time_passes(Duration::from_mins(1)).await;
//!     owner.expect_eq(&Beat, Duration::ZERO).await;
//! });
//! ```

#![expect(
    clippy::panic,
    reason = "an expectation that is not met ends the test, as `assert!` does"
)]

mod effects;
mod faults;
mod inbox;
mod logs;
mod manual_clock;
mod probe;
mod thread_turns;

pub use effects::{BehaviourKit, Effect};
pub use faults::{FaultCounts, FaultKind, Faults, Injected};
pub use inbox::Inbox;
pub use logs::{LogProbe, Logged};
pub use manual_clock::ManualClock;
pub use probe::{Asked, Fish, Probe, ProbeActor, Quiet};

#[cfg(test)]
mod more_tests;
#[cfg(test)]
mod tests;
