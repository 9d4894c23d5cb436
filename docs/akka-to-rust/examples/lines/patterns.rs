//! Chapter 3.

use actix::{Actor, Handler, Message, ResponseFuture};
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Props, Recipient};

use crate::{MS, Part, SECOND, drain, probe, say};

#[derive(Message)]
#[rtype(result = "()")]
struct Translate(u32, Recipient<Translated>);

#[derive(Message)]
#[rtype(result = "()")]
struct Translated(u32);

struct Backend;

impl Actor for Backend {
    type Context = Context<Self>;
}

impl Handler<Translate> for Backend {
    type Result = ();

    fn handle(&mut self, Translate(page, reply_to): Translate, _: &mut Context<Self>) {
        let _gone = reply_to.tell(Translated(page));
    }
}

#[derive(Message)]
#[rtype(result = "String")]
struct OpenThePodBayDoorsPlease;

struct Hal {
    answers: bool,
}

impl Actor for Hal {
    type Context = Context<Self>;
}

impl Handler<OpenThePodBayDoorsPlease> for Hal {
    type Result = ResponseFuture<String>;

    fn handle(&mut self, _: OpenThePodBayDoorsPlease, _: &mut Context<Self>) -> Self::Result {
        if self.answers {
            Box::pin(async { "I'm sorry, Dave".to_owned() })
        } else {
            Box::pin(std::future::pending())
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PageDone(u32);

#[derive(Message)]
#[rtype(result = "()")]
struct Answered(Result<String, AskError>);

struct Dave {
    backend: ActorRef<Backend>,
    hal: ActorRef<Hal>,
    seen: Recipient<String>,
}

impl Actor for Dave {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let adapter = ctx.self_ref().adapter(|Translated(page)| PageDone(page));
        let _enqueued = self.backend.tell(Translate(7, adapter));
        let hal = self.hal.clone();
        ctx.pipe_to_self(
            async move { hal.ask(OpenThePodBayDoorsPlease, 300 * MS).await },
            Answered,
        );
    }
}

impl Handler<PageDone> for Dave {
    type Result = ();

    fn handle(&mut self, PageDone(page): PageDone, _: &mut Context<Self>) {
        let _gone = self.seen.tell(format!("adapted: {page}"));
    }
}

impl Handler<Answered> for Dave {
    type Result = ();

    fn handle(&mut self, Answered(answer): Answered, _: &mut Context<Self>) {
        let text = answer.unwrap_or("Request failed".to_owned());
        let _gone = self.seen.tell(format!("asked: {text}"));
    }
}

async fn dave(system: &ActorSystem, answers: bool) -> Vec<String> {
    let (seen, mut lines) = probe();
    let backend = system.spawn(Props::new(|| Backend), "backend");
    let hal = system.spawn(Props::new(move || Hal { answers }), "hal");
    let props = Props::new(move || Dave {
        backend: backend.clone(),
        hal: hal.clone(),
        seen: seen.clone(),
    });
    system.spawn(props, "dave");
    tokio::time::sleep(SECOND).await;
    let mut lines = drain(&mut lines);
    lines.sort();
    lines
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("patterns", 1);
    for line in dave(&system, true).await {
        say(&format!("3 {line}"))?;
    }
    if let Some(line) = dave(&system, false).await.last() {
        say(&format!("3 where nobody answers, {line}"))?;
    }
    system.terminate().await;
    Ok(())
}
