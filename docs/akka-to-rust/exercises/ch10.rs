//! Exercise 10. A lock opens for 5 s with the right code. After three wrong codes in a row it must refuse every code for 30 s.

use std::time::Duration;

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Props,
    fsm::{Fsm, Machine},
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open,
}

/// Enters a code; the answer is `true` if the lock is open.
#[derive(Message)]
#[rtype(result = "bool")]
struct Enter(u32);

struct Lock {
    state: Fsm<State>,
    wrong: u32,
}

impl Actor for Lock {
    type Context = Context<Self>;
}

impl Machine for Lock {
    type State = State;

    fn fsm(&mut self) -> &mut Fsm<State> {
        &mut self.state
    }
}

impl Handler<Enter> for Lock {
    type Result = bool;

    fn handle(&mut self, Enter(code): Enter, ctx: &mut Context<Self>) -> bool {
        match self.state.state() {
            State::Closed if code == 1234 => self.goto(State::Open, ctx),
            State::Closed => self.wrong += 1,
            State::Open => {}
        }
        *self.state.state() == State::Open
    }
}

// The check: leave it as it is.

async fn enter(lock: &ActorRef<Lock>, code: u32) -> bool {
    lock.ask(Enter(code), Duration::from_secs(1)).await.unwrap()
}

pub(crate) async fn check() {
    tokio::time::pause();
    let system = ActorSystem::new("exercise", 1);
    let props = Props::new(|| Lock {
        state: Fsm::new(State::Closed),
        wrong: 0,
    });
    let lock = system.spawn(props, "lock");
    assert!(
        enter(&lock, 1234).await,
        "exercise 10: the right code opens"
    );
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(
        !enter(&lock, 1).await,
        "exercise 10: after 5 s it is closed again"
    );
    enter(&lock, 2).await;
    enter(&lock, 3).await;
    assert!(
        !enter(&lock, 1234).await,
        "exercise 10: after three wrong codes it stays closed"
    );
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(
        enter(&lock, 1234).await,
        "exercise 10: after 30 s the right code opens"
    );
}
