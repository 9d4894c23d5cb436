//! Machines: transitions, their hooks and their timeouts.

use std::sync::{Arc, Mutex};

use actix::Handler;
use tokio::time::sleep;

use super::*;
use crate::{ActorRef, ActorSystem, Props};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Busy,
    /// Left at once by the hook.
    Passing,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Goto(State, Option<Duration>);
#[derive(Message)]
#[rtype(result = "State")]
struct Get;
#[derive(Message)]
#[rtype(result = "()")]
struct Subscribe(Recipient<StateChange<State>>);

type Log = Arc<Mutex<Vec<String>>>;

struct Worker {
    fsm: Fsm<State>,
    log: Log,
}
impl Actor for Worker {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.enter(ctx);
    }
}
impl Machine for Worker {
    type State = State;
    fn fsm(&mut self) -> &mut Fsm<State> {
        &mut self.fsm
    }
    fn state_timeout(&self, state: &State) -> Option<Duration> {
        (*state == State::Busy).then_some(10 * SECOND)
    }
    fn transition(&mut self, from: &State, to: &State, ctx: &mut Context<Self>) {
        self.log.lock().unwrap().push(format!("{from:?} {to:?}"));
        if *to == State::Passing {
            self.goto(State::Busy, ctx);
        }
    }
    fn timed_out(&mut self, ctx: &mut Context<Self>) {
        self.log.lock().unwrap().push("timeout".to_owned());
        self.goto(State::Idle, ctx);
    }
}
impl Handler<Goto> for Worker {
    type Result = ();
    fn handle(&mut self, Goto(state, max): Goto, ctx: &mut Context<Self>) {
        match max {
            Some(max) => self.goto_for(state, max, ctx),
            None => self.goto(state, ctx),
        }
    }
}
impl Handler<Get> for Worker {
    type Result = actix::MessageResult<Get>;
    fn handle(&mut self, _: Get, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(self.fsm.state().clone())
    }
}
impl Handler<Subscribe> for Worker {
    type Result = ();
    fn handle(&mut self, Subscribe(to): Subscribe, _: &mut Context<Self>) {
        self.fsm.subscribe(to);
    }
}

fn worker(initial: State) -> (ActorRef<Worker>, Log) {
    let log = Log::default();
    let noted = Arc::clone(&log);
    let props = Props::new(move || Worker {
        fsm: Fsm::new(initial.clone()),
        log: Arc::clone(&noted),
    });
    (ActorSystem::new("test", 1).spawn(props, "worker"), log)
}

async fn goto(worker: &ActorRef<Worker>, state: State, max: Option<Duration>) {
    worker.ask(Goto(state, max), SECOND).await.unwrap();
}

#[actix::test]
async fn a_state_times_out_when_no_message_was_handled_for_its_time() {
    tokio::time::pause();
    let (worker, log) = worker(State::Idle);
    goto(&worker, State::Busy, None).await;
    sleep(9 * SECOND).await;
    assert_eq!(worker.ask(Get, SECOND).await, Ok(State::Busy));
    sleep(9 * SECOND).await;
    assert_eq!(log.lock().unwrap().len(), 1);
    sleep(2 * SECOND).await;
    assert_eq!(*log.lock().unwrap(), ["Idle Busy", "timeout", "Busy Idle"]);
    sleep(60 * SECOND).await;
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[actix::test]
async fn leaving_a_state_ends_its_timeout_and_a_timeout_of_its_own_replaces_it() {
    tokio::time::pause();
    let (worker, log) = worker(State::Idle);
    goto(&worker, State::Busy, None).await;
    goto(&worker, State::Idle, None).await;
    sleep(20 * SECOND).await;
    assert_eq!(*log.lock().unwrap(), ["Idle Busy", "Busy Idle"]);
    goto(&worker, State::Idle, Some(2 * SECOND)).await;
    sleep(3 * SECOND).await;
    let expected = [
        "Idle Busy",
        "Busy Idle",
        "Idle Idle",
        "timeout",
        "Idle Idle",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[actix::test]
async fn the_initial_state_times_out_if_it_is_entered() {
    tokio::time::pause();
    let (_worker, log) = worker(State::Busy);
    sleep(11 * SECOND).await;
    assert_eq!(*log.lock().unwrap(), ["timeout", "Busy Idle"]);
}

#[actix::test]
async fn a_hook_may_go_on_to_another_state_whose_timeout_counts() {
    tokio::time::pause();
    let (worker, log) = worker(State::Idle);
    goto(&worker, State::Passing, None).await;
    assert_eq!(worker.ask(Get, SECOND).await, Ok(State::Busy));
    sleep(11 * SECOND).await;
    let expected = ["Idle Passing", "Passing Busy", "timeout", "Busy Idle"];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[actix::test]
async fn a_subscriber_hears_the_present_state_and_each_transition() {
    tokio::time::pause();
    let (worker, _log) = worker(State::Idle);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heard);
    let subscriber = Recipient::new(move |change| {
        noted.lock().unwrap().push(change);
        Offer::Enqueued
    });
    worker.ask(Subscribe(subscriber), SECOND).await.unwrap();
    goto(&worker, State::Busy, None).await;
    let (from, to) = (State::Idle, State::Busy);
    let expected = [
        StateChange::Current(State::Idle),
        StateChange::Transition { from, to },
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}
