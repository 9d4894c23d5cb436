//! Finite state machines: an actor with a state, transitions and a timeout for each state.
//!
//! Owns the state, its timeout and the subscribers to transitions. The handlers of an actor are as always: they match on
//! the state. What this adds is that all transitions pass one place. Source: Pekko's classic `FSM` and its `FSMActorSpec`,
//! `FSMTransitionSpec` and `FSMTimingSpec`.
//!
//! ```
//! use std::time::Duration;
//!
//! use actix::{Actor, Handler, Message};
//! use kebne_actors::{ActorSystem, Context, Props, fsm::{Fsm, Machine}};
//!
//! #[derive(Clone, Debug, PartialEq)]
//! enum Door {
//!     Closed,
//!     Open,
//! }
//!
//! #[derive(Message)]
//! #[rtype(result = "bool")]
//! struct Push;
//!
//! struct Gate {
//!     door: Fsm<Door>,
//! }
//!
//! impl Actor for Gate {
//!     type Context = Context<Self>;
//! }
//!
//! impl Machine for Gate {
//!     type State = Door;
//!
//!     fn fsm(&mut self) -> &mut Fsm<Door> {
//!         &mut self.door
//!     }
//!
//!     // An open door closes when nothing has happened for a while.
//!     fn state_timeout(&self, state: &Door) -> Option<Duration> {
//!         (*state == Door::Open).then_some(Duration::from_secs(5))
//!     }
//!
//!     fn timed_out(&mut self, ctx: &mut Context<Self>) {
//!         self.goto(Door::Closed, ctx);
//!     }
//! }
//!
//! impl Handler<Push> for Gate {
//!     type Result = bool;
//!
//!     fn handle(&mut self, _: Push, ctx: &mut Context<Self>) -> bool {
//!         let opens = *self.door.state() == Door::Closed;
//!         if opens {
//!             self.goto(Door::Open, ctx);
//!         }
//!         opens
//!     }
//! }
//!
//! # actix::System::new().block_on(async {
//! # tokio::time::pause();
//! let system = ActorSystem::new("example", 1);
//! let gate = system.spawn(Props::new(|| Gate { door: Fsm::new(Door::Closed) }), "gate");
//! let second = Duration::from_secs(1);
//! assert_eq!(gate.ask(Push, second).await, Ok(true));
//! assert_eq!(gate.ask(Push, second).await, Ok(false));
//! tokio::time::sleep(6 * second).await;
//! assert_eq!(gate.ask(Push, second).await, Ok(true));
//! # });
//! ```

use std::{fmt, time::Duration};

use actix::{Actor, Message};

use crate::{Context, Offer, Recipient};

/// An actor that is a finite state machine.
///
/// A restart begins with the state of the new instance. An initial state with a timeout is entered by [`Machine::enter`]
/// in `started`.
pub trait Machine: Actor<Context = Context<Self>> {
    /// The states. Data may be in the variants or beside the state.
    type State: Clone + PartialEq + fmt::Debug + 'static;

    /// Returns the place of the state.
    fn fsm(&mut self) -> &mut Fsm<Self::State>;

    /// Returns how long the actor may be in a state without handling a message before [`Machine::timed_out`] is called:
    /// Pekko's `when(state, stateTimeout = …)`. Default: for ever.
    fn state_timeout(&self, _: &Self::State) -> Option<Duration> {
        None
    }

    /// Called at each transition, with the old and the new state, before the new state's timeout begins: Pekko's
    /// `onTransition`. A transition to the same state counts; staying does not.
    fn transition(&mut self, _from: &Self::State, _to: &Self::State, _: &mut Context<Self>) {}

    /// Called when the timeout of the state is over: Pekko's `StateTimeout`. If the state stays the same, the timeout
    /// begins again.
    fn timed_out(&mut self, _: &mut Context<Self>) {}

    /// Goes to a state.
    fn goto(&mut self, next: Self::State, ctx: &mut Context<Self>) {
        let timeout = self.state_timeout(&next);
        change(self, &next, timeout, ctx);
    }

    /// Goes to a state, with a timeout of its own in place of the state's: Pekko's `forMax`.
    fn goto_for(&mut self, next: Self::State, timeout: Duration, ctx: &mut Context<Self>) {
        change(self, &next, Some(timeout), ctx);
    }

    /// Begins the timeout of the present state, for `started`. No transition is reported.
    fn enter(&mut self, ctx: &mut Context<Self>) {
        let state = self.fsm().state().clone();
        let timeout = self.state_timeout(&state);
        begin_timeout(timeout, ctx);
    }
}

fn change<A: Machine>(
    actor: &mut A,
    next: &A::State,
    timeout: Option<Duration>,
    ctx: &mut Context<A>,
) {
    let fsm = actor.fsm();
    let from = std::mem::replace(&mut fsm.state, next.clone());
    fsm.report(&from, next);
    actor.transition(&from, next, ctx);
    // The hook may have gone on to another state, which has begun its timeout.
    if actor.fsm().state == *next {
        begin_timeout(timeout, ctx);
    }
}

fn begin_timeout<A: Machine>(timeout: Option<Duration>, ctx: &mut Context<A>) {
    match timeout {
        Some(timeout) => ctx.start_state_timeout(timeout, A::timed_out),
        None => ctx.cancel_state_timeout(),
    }
}

/// What a subscriber to transitions receives.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum StateChange<S: Send + 'static> {
    /// The state at the subscription.
    Current(S),
    /// A transition.
    Transition {
        /// The old state.
        from: S,
        /// The new state.
        to: S,
    },
}

type Report<S> = Box<dyn Fn(&S, &S) -> Offer>;

/// The state of a machine, a field of its actor.
pub struct Fsm<S> {
    state: S,
    subscribers: Vec<Report<S>>,
}

impl<S> Fsm<S> {
    /// Creates a machine in its initial state.
    pub fn new(initial: S) -> Self {
        Self {
            state: initial,
            subscribers: Vec::new(),
        }
    }

    /// Returns the state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Tells `subscriber` the present state and each transition, until it has stopped: Pekko's
    /// `SubscribeTransitionCallBack`. One with a full mailbox misses transitions.
    pub fn subscribe(&mut self, subscriber: Recipient<StateChange<S>>)
    where
        S: Clone + Send + 'static,
    {
        if subscriber.tell(StateChange::Current(self.state.clone())) == Offer::Closed {
            return;
        }
        self.subscribers.push(Box::new(move |from, to| {
            subscriber.tell(StateChange::Transition {
                from: from.clone(),
                to: to.clone(),
            })
        }));
    }

    fn report(&mut self, from: &S, to: &S) {
        self.subscribers
            .retain(|report| report(from, to) != Offer::Closed);
    }
}

impl<S: fmt::Debug> fmt::Debug for Fsm<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Fsm")
            .field("state", &self.state)
            .field("subscribers", &self.subscribers.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
