//! Chapter 8.

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Props, Recipient, Strategy};
use tokio::time::sleep;

use crate::{MS, Part, SECOND, drain, probe, say, settle, words};

#[derive(Message)]
#[rtype(result = "()")]
struct Queue(u32);

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Flush;

struct Buncher {
    target: Recipient<Vec<u32>>,
    items: Vec<u32>,
}

impl Actor for Buncher {
    type Context = Context<Self>;
}

impl Handler<Queue> for Buncher {
    type Result = ();

    fn handle(&mut self, Queue(item): Queue, ctx: &mut Context<Self>) {
        self.items.push(item);
        ctx.start_timer("flush", Flush, SECOND);
    }
}

impl Handler<Flush> for Buncher {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Context<Self>) {
        ctx.cancel_timer("flush");
        let _gone = self.target.tell(std::mem::take(&mut self.items));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Say(&'static str);

/// Keeps words until it is opened; `fail` makes it fail.
struct Store {
    seen: Recipient<&'static str>,
    open: bool,
}

impl Actor for Store {
    type Context = Context<Self>;
}

impl Handler<Say> for Store {
    type Result = ();

    fn handle(&mut self, Say(word): Say, ctx: &mut Context<Self>) {
        match word {
            "fail" => ctx.fail("on purpose"),
            "open" => {
                self.open = true;
                let _gone = self.seen.tell(word);
                ctx.unstash_all();
            }
            _ if self.open => {
                let _gone = self.seen.tell(word);
            }
            _ => {
                if let Err(Say(_)) = ctx.stash(Say(word)) {
                    let _gone = self.seen.tell("given back");
                }
            }
        }
    }
}

#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Quiet;

struct Session;

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_receive_timeout(30 * SECOND, Quiet);
    }
}

impl Handler<Quiet> for Session {
    type Result = ();

    fn handle(&mut self, _: Quiet, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Say> for Session {
    type Result = ();

    fn handle(&mut self, _: Say, _: &mut Context<Self>) {}
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("stash", 1);
    buncher(&system).await?;
    stash(&system).await?;

    let session = system.spawn(Props::new(|| Session), "session");
    for seconds in [20, 29] {
        sleep(seconds * SECOND).await;
        let _enqueued = session.tell(Say("touch"));
    }
    settle().await;
    let lived = session.is_alive();
    sleep(31 * SECOND).await;
    if lived && !session.is_alive() {
        say("8 a receive timeout counts from the last message")?;
    }
    Ok(())
}

async fn buncher(system: &ActorSystem) -> Part {
    let (target, mut batches) = probe();
    let props = Props::new(move || Buncher {
        target: target.clone(),
        items: Vec::new(),
    });
    let buncher = system.spawn(props, "buncher");
    for item in [42, 43] {
        let _enqueued = buncher.tell(Queue(item));
        sleep(900 * MS).await;
    }
    if batches.is_empty() {
        say("8 a timer that is started again is replaced")?;
    }
    sleep(200 * MS).await;
    for batch in drain(&mut batches) {
        say(&format!("8 batch: {}", words(batch)))?;
    }
    let _enqueued = buncher.tell(Queue(44));
    let _enqueued = buncher.tell(Flush);
    settle().await;
    for batch in drain(&mut batches) {
        say(&format!("8 batch: {}", words(batch)))?;
    }
    sleep(5 * SECOND).await;
    if batches.is_empty() {
        say("8 a cancelled timer never fires")?;
    }
    Ok(())
}

async fn stash(system: &ActorSystem) -> Part {
    let (seen, mut told) = probe();
    let make = move || Store {
        seen: seen.clone(),
        open: false,
    };
    let opened = system.spawn(Props::new(make.clone()).stash(10), "store");
    for word in ["1", "2", "open", "3"] {
        let _enqueued = opened.tell(Say(word));
    }
    settle().await;
    say(&format!("8 stash: {}", words(drain(&mut told))))?;

    let restart = Props::new(make).stash(10).supervise(Strategy::restart());
    let restarted = system.spawn(restart, "store");
    for word in ["1", "2", "fail", "open", "3"] {
        let _enqueued = restarted.tell(Say(word));
    }
    settle().await;
    let kept = drain(&mut told).contains(&"1");
    let what = if kept { "kept" } else { "lost" };
    say(&format!("differs: 8 stashed before a restart: {what}"))?;

    let (told, mut answers) = probe();
    let small = Props::new(move || Store {
        seen: told.clone(),
        open: false,
    });
    let small = system.spawn(small.stash(1), "small");
    for word in ["1", "2", "open"] {
        let _enqueued = small.tell(Say(word));
    }
    settle().await;
    let given_back = drain(&mut answers).contains(&"given back");
    let what = if given_back { "given back" } else { "lost" };
    say(&format!(
        "differs: 8 one message more than a stash holds is {what}"
    ))?;
    Ok(())
}
