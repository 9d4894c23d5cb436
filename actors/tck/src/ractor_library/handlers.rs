//! Ractor's handlers, which are `async fn`s with the state as `&mut`.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, rpc::CallResult};
use tokio::time::sleep;

use crate::driver::{
    Unsupported,
    actors::ANSWER_TIMEOUT,
    handlers::{Driver, Notes, Soon, Work, Worker},
};

/// Spawns workers on ractor.
#[derive(Debug)]
pub(super) struct Handlers;

impl Driver for Handlers {
    fn spawn(&self, turns: Option<usize>) -> Soon<'_, Result<Box<dyn Worker>, Unsupported>> {
        Box::pin(async move {
            if turns.is_some() {
                return Err(Unsupported("handlers that take turns"));
            }
            let spawned = RactorWorker::spawn(None, RactorWorker, ()).await;
            let (worker, _task) = spawned.map_err(|_| Unsupported("actor that starts"))?;
            Ok(Box::new(Handle(worker)) as Box<dyn Worker>)
        })
    }
}

struct RactorWorker;

#[derive(Debug)]
struct Order(&'static str, Work, RpcReplyPort<Vec<String>>);

impl Actor for RactorWorker {
    type Msg = Order;
    type State = Vec<String>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Order>,
        (): (),
    ) -> Result<Vec<String>, ActorProcessingErr> {
        Ok(Vec::new())
    }

    #[expect(clippy::panic, reason = "on purpose")]
    async fn handle(
        &self,
        myself: ActorRef<Order>,
        Order(name, work, reply): Order,
        notes: &mut Vec<String>,
    ) -> Result<(), ActorProcessingErr> {
        notes.push(format!("{name}+"));
        match work {
            Work::Wait(time) => sleep(time).await,
            Work::WaitAndPanic(time) => {
                sleep(time).await;
                panic!("on purpose");
            }
            Work::AskItself => {
                let order = |port| Order("itself", Work::Wait(Duration::ZERO), port);
                let asked = myself.call(order, Some(Duration::from_secs(1))).await;
                let answers = matches!(asked, Ok(CallResult::Success(_)));
                let what = if answers {
                    " answers"
                } else {
                    " does not answer"
                };
                notes.push(format!("{name}{what}"));
            }
        }
        notes.push(format!("{name}-"));
        if !reply.is_closed() {
            reply.send(notes.clone())?;
        }
        Ok(())
    }
}

struct Handle(ActorRef<Order>);

impl Worker for Handle {
    fn work(&self, name: &'static str, work: Work) -> Soon<'static, Notes> {
        let worker = self.0.clone();
        Box::pin(async move {
            let order = |port| Order(name, work, port);
            match worker.call(order, Some(ANSWER_TIMEOUT)).await {
                Ok(CallResult::Success(notes)) => Some(notes),
                _ => None,
            }
        })
    }

    fn stop(&self) -> Result<Soon<'_, ()>, Unsupported> {
        let worker = self.0.clone();
        Ok(Box::pin(async move {
            // It may have stopped already.
            worker.kill_and_wait(None).await.ok();
        }))
    }
}
