//! Chapter 19. Its threads really block, so that its time is real.

use std::{sync::mpsc, time::Duration};

use actix::{Actor, Arbiter, Handler, Message, ResponseFuture};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Recipient};
use tokio::{
    sync::{mpsc::UnboundedReceiver, oneshot},
    time::timeout,
};

use crate::{MS, Part, SECOND, probe, say};

#[derive(Message)]
#[rtype(result = "()")]
struct Query(Call, Recipient<&'static str>);

/// A call that blocks until it is released.
struct Call {
    begun: oneshot::Sender<()>,
    answer: mpsc::Receiver<&'static str>,
}

impl Call {
    fn run(self) -> &'static str {
        let _awaited = self.begun.send(());
        self.answer.recv().unwrap_or("gone")
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Ping(Recipient<&'static str>);

/// Blocks the thread that it is on.
struct Database;

impl Actor for Database {
    type Context = Context<Self>;
}

impl Handler<Query> for Database {
    type Result = ();

    fn handle(&mut self, Query(call, reply_to): Query, _: &mut Context<Self>) {
        let _gone = reply_to.tell(call.run());
    }
}

impl Handler<Ping> for Database {
    type Result = ();

    fn handle(&mut self, Ping(reply_to): Ping, _: &mut Context<Self>) {
        let _gone = reply_to.tell("pong");
    }
}

/// Lets a thread of tokio's pool block.
struct Polite;

impl Actor for Polite {
    type Context = Context<Self>;
}

impl Handler<Query> for Polite {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Query(call, reply_to): Query, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async move {
            let answer = tokio::task::spawn_blocking(move || call.run()).await;
            let _gone = reply_to.tell(answer.unwrap_or("gone"));
        })
    }
}

impl Handler<Ping> for Polite {
    type Result = ();

    fn handle(&mut self, Ping(reply_to): Ping, _: &mut Context<Self>) {
        let _gone = reply_to.tell("pong");
    }
}

async fn next(heard: &mut UnboundedReceiver<&'static str>, wait: Duration) -> &'static str {
    let heard = timeout(wait, heard.recv()).await;
    heard.ok().flatten().unwrap_or("nothing")
}

/// Sends a call that blocks to the one and a ping to the other; what is heard before and after the call is released.
async fn blocked<A, B>(first: &ActorRef<A>, second: &ActorRef<B>, wait: Duration) -> String
where
    A: Actor<Context = Context<A>> + Handler<Query>,
    B: Actor<Context = Context<B>> + Handler<Ping>,
{
    let (release, answer) = mpsc::channel();
    let (begun, has_begun) = oneshot::channel();
    let (tell, mut heard) = probe();
    let _enqueued = first.tell(Query(Call { begun, answer }, tell.clone()));
    let _begun = has_begun.await;
    let _enqueued = second.tell(Ping(tell));
    let before = next(&mut heard, wait).await;
    let _taken = release.send("rows");
    format!("{before}, then {}", next(&mut heard, 5 * SECOND).await)
}

pub(crate) async fn run() -> Part {
    tokio::time::resume();
    let system = ActorSystem::new("blocking", 1);
    let one_thread = Arbiter::new();
    let other = Arbiter::new();
    let database = |thread: &Arbiter| {
        let props = Props::new(|| Database).on_arbiter(thread.handle());
        system.spawn(props, "database")
    };
    let beside = blocked(&database(&one_thread), &database(&one_thread), 300 * MS).await;
    say(&format!("19 beside it on its thread: {beside}"))?;
    let apart = blocked(&database(&other), &database(&one_thread), 5 * SECOND).await;
    say(&format!("19 apart from it: {apart}"))?;
    let polite = system.spawn(Props::new(|| Polite), "polite");
    let piping = blocked(&polite, &polite, 5 * SECOND).await;
    say(&format!(
        "19 itself, where it lets another thread block: {piping}"
    ))?;
    system.terminate().await;
    tokio::time::pause();
    Ok(())
}
