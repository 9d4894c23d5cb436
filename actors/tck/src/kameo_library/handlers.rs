//! Kameo's handlers, which are `async fn`s with `&mut self`.

use std::time::Duration;

use kameo::{
    Actor,
    actor::{ActorRef, Spawn as _},
    message::{Context, Message},
};
use tokio::time::sleep;

use crate::driver::{
    Unsupported,
    actors::ANSWER_TIMEOUT,
    handlers::{Driver, Notes, Soon, Work, Worker},
};

/// Spawns workers on kameo.
#[derive(Debug)]
pub(super) struct Handlers;

impl Driver for Handlers {
    fn spawn(&self, turns: Option<usize>) -> Soon<'_, Result<Box<dyn Worker>, Unsupported>> {
        Box::pin(async move {
            if turns.is_some() {
                return Err(Unsupported("handlers that take turns"));
            }
            let worker = KameoWorker::spawn(());
            Ok(Box::new(Handle(worker)) as Box<dyn Worker>)
        })
    }
}

struct KameoWorker {
    notes: Vec<String>,
}

struct Do(&'static str, Work);

impl Actor for KameoWorker {
    type Args = ();
    type Error = kameo::error::Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Self::Error> {
        Ok(Self { notes: Vec::new() })
    }
}

impl Message<Do> for KameoWorker {
    type Reply = Vec<String>;

    #[expect(clippy::panic, reason = "on purpose")]
    async fn handle(
        &mut self,
        Do(name, work): Do,
        ctx: &mut Context<Self, Self::Reply>,
    ) -> Vec<String> {
        self.notes.push(format!("{name}+"));
        match work {
            Work::Wait(time) => sleep(time).await,
            Work::WaitAndPanic(time) => {
                sleep(time).await;
                panic!("on purpose");
            }
            Work::AskItself => {
                let order = Do("itself", Work::Wait(Duration::ZERO));
                let asked = ctx
                    .actor_ref()
                    .ask(order)
                    .reply_timeout(Duration::from_secs(1));
                let answers = asked.await.is_ok();
                let what = if answers {
                    " answers"
                } else {
                    " does not answer"
                };
                self.notes.push(format!("{name}{what}"));
            }
        }
        self.notes.push(format!("{name}-"));
        self.notes.clone()
    }
}

struct Handle(ActorRef<KameoWorker>);

impl Worker for Handle {
    fn work(&self, name: &'static str, work: Work) -> Soon<'static, Notes> {
        let worker = self.0.clone();
        Box::pin(async move {
            let asked = worker.ask(Do(name, work)).reply_timeout(ANSWER_TIMEOUT);
            asked.await.ok()
        })
    }

    fn stop(&self) -> Result<Soon<'_, ()>, Unsupported> {
        self.0.kill();
        Ok(Box::pin(async {
            self.0.wait_for_shutdown().await;
        }))
    }
}
