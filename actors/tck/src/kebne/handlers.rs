//! Kebne's `async` handlers as the suite sees them.

use std::time::Duration;

use actix::Message;
use kebne_actors::{
    ActorRef, ActorSystem, Async, AsyncActor, AsyncHandler, Reentrant, ReentrantActor,
    ReentrantHandler, Scope, Shared, Strategy,
};
use tokio::time::sleep;

use crate::{
    case::SEED,
    driver::{
        Unsupported,
        actors::ANSWER_TIMEOUT,
        handlers::{Driver, Notes, Soon, Work, Worker},
    },
};

/// Spawns workers on Kebne.
#[derive(Debug)]
pub(super) struct Handlers;

impl Driver for Handlers {
    fn spawn(&self, turns: Option<usize>) -> Soon<'_, Result<Box<dyn Worker>, Unsupported>> {
        let system = ActorSystem::new("tck", SEED);
        let worker: Box<dyn Worker> = match turns {
            None => {
                let props = Async::props(State::default).supervise(Strategy::restart());
                Box::new(Serial(system.spawn(props, "worker")))
            }
            Some(turns) => {
                let props = Reentrant::props(turns, State::default);
                Box::new(InTurns(system.spawn(props, "worker")))
            }
        };
        Box::pin(async { Ok(worker) })
    }

    fn restarts(&self) -> Result<(), Unsupported> {
        Ok(())
    }
}

#[derive(Default)]
struct State {
    notes: Vec<String>,
}

struct Do(&'static str, Work);

impl Message for Do {
    type Result = Vec<String>;
}

impl State {
    fn note(&mut self, name: &str, what: &str) {
        self.notes.push(format!("{name}{what}"));
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl AsyncActor for State {}

impl AsyncHandler<Do> for State {
    #[expect(clippy::panic, reason = "on purpose")]
    async fn handle(&mut self, Do(name, work): Do, scope: &Scope<Async<Self>>) -> Vec<String> {
        self.note(name, "+");
        match work {
            Work::Wait(time) => sleep(time).await,
            Work::WaitAndPanic(time) => {
                sleep(time).await;
                panic!("on purpose");
            }
            Work::AskItself => {
                let asked = scope
                    .self_ref()
                    .ask(Do("itself", Work::Wait(Duration::ZERO)), SECOND);
                let what = if asked.await.is_ok() {
                    " answers"
                } else {
                    " does not answer"
                };
                self.note(name, what);
            }
        }
        self.note(name, "-");
        self.notes.clone()
    }
}

impl ReentrantActor for State {}

impl ReentrantHandler<Do> for State {
    #[expect(clippy::panic, reason = "on purpose")]
    async fn handle(this: Shared<Self>, Do(name, work): Do) -> Vec<String> {
        this.with(|state| state.note(name, "+"));
        match work {
            Work::Wait(time) => sleep(time).await,
            Work::WaitAndPanic(time) => {
                sleep(time).await;
                panic!("on purpose");
            }
            Work::AskItself => {
                let myself = this.scope().self_ref();
                let asked = myself.ask(Do("itself", Work::Wait(Duration::ZERO)), SECOND);
                let what = if asked.await.is_ok() {
                    " answers"
                } else {
                    " does not answer"
                };
                this.with(|state| state.note(name, what));
            }
        }
        this.with(|state| {
            state.note(name, "-");
            state.notes.clone()
        })
    }
}

struct Serial(ActorRef<Async<State>>);

impl Worker for Serial {
    fn work(&self, name: &'static str, work: Work) -> Soon<'static, Notes> {
        let worker = self.0.clone();
        Box::pin(async move { worker.ask(Do(name, work), ANSWER_TIMEOUT).await.ok() })
    }

    fn stop(&self) -> Result<Soon<'_, ()>, Unsupported> {
        self.0.stop();
        Ok(Box::pin(self.0.when_stopped()))
    }
}

struct InTurns(ActorRef<Reentrant<State>>);

impl Worker for InTurns {
    fn work(&self, name: &'static str, work: Work) -> Soon<'static, Notes> {
        let worker = self.0.clone();
        Box::pin(async move { worker.ask(Do(name, work), ANSWER_TIMEOUT).await.ok() })
    }

    fn stop(&self) -> Result<Soon<'_, ()>, Unsupported> {
        self.0.stop();
        Ok(Box::pin(self.0.when_stopped()))
    }
}
