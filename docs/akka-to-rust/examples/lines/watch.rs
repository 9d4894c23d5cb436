//! Chapter 7.

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Props, Recipient, StopCause, Strategy, Terminated,
};

use crate::{Part, drain, probe, say, settle, words};

#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
enum Do {
    Fail,
    Stop,
    LastWords,
}

/// Tells its last words, fails or stops.
struct Work(Recipient<&'static str>);

impl Actor for Work {
    type Context = Context<Self>;
}

impl Handler<Do> for Work {
    type Result = ();

    fn handle(&mut self, act: Do, ctx: &mut Context<Self>) {
        match act {
            Do::Fail => ctx.fail("no more coffee"),
            Do::Stop => ctx.stop(),
            Do::LastWords => {
                let _gone = self.0.tell("last words");
                ctx.stop();
            }
        }
    }
}

/// Cannot live without its worker.
struct Middle;

impl Actor for Middle {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let work = ctx.spawn_child(Props::new(|| Work(probe().0)), "work");
        ctx.watch_or_die(&work);
        let _enqueued = work.tell(Do::Fail);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Words(&'static str);

#[derive(Message)]
#[rtype(result = "()")]
struct Watch(ActorRef<Work>);

/// Says what it hears, of others too.
struct Watcher(Recipient<&'static str>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<Watch> for Watcher {
    type Result = ();

    fn handle(&mut self, Watch(other): Watch, ctx: &mut Context<Self>) {
        ctx.watch(&other);
        let _enqueued = other.tell(Do::LastWords);
    }
}

impl Handler<Terminated> for Watcher {
    type Result = ();

    fn handle(&mut self, _: Terminated, _: &mut Context<Self>) {
        let _gone = self.0.tell("the news");
    }
}

impl Handler<Words> for Watcher {
    type Result = ();

    fn handle(&mut self, Words(words): Words, _: &mut Context<Self>) {
        let _gone = self.0.tell(words);
    }
}

/// Spawns `Middle` and hears of it.
struct Boss(Recipient<String>);

impl Actor for Boss {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let middle = ctx.spawn_child(Props::new(|| Middle), "middle");
        ctx.watch(&middle);
    }
}

impl Handler<Terminated> for Boss {
    type Result = ();

    fn handle(&mut self, Terminated { path, cause }: Terminated, _: &mut Context<Self>) {
        let name = path.rsplit('/').next().unwrap_or_default();
        let failed = matches!(cause, StopCause::Failed(_));
        let how = if failed { "failed" } else { "stopped" };
        let _gone = self.0.tell(format!("{name} {how}"));
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("watch", 1);
    let (heard, mut news) = probe();
    let tell = heard.clone();
    system.spawn(Props::new(move || Boss(tell.clone())), "boss");
    settle().await;
    let climbed = words(drain(&mut news));
    say(&format!("7 a death pact climbs: {climbed}"))?;

    let props = Props::new(|| Work(probe().0)).supervise(Strategy::restart());
    let other = system.spawn(props, "other");
    let watch = |message| {
        let (heard, other) = (heard.clone(), other.clone());
        let props = Props::new(move || Listener {
            heard: heard.clone(),
            other: other.clone(),
            message,
        });
        system.spawn(props, "listener")
    };
    watch("gone");
    let _enqueued = other.tell(Do::Fail);
    settle().await;
    if drain(&mut news).is_empty() {
        say("7 no news of a restart")?;
    }
    let _enqueued = other.tell(Do::Stop);
    settle().await;
    let heard_of = drain(&mut news);
    say(&format!("7 news of a stop: {}", words(&heard_of)))?;
    if heard_of.len() == 1 {
        say("7 once")?;
    }
    watch("gone before");
    settle().await;
    say(&format!("7 news of the dead: {}", words(drain(&mut news))))?;
    twice(&system).await?;
    order(&system).await
}

/// Whether a message of one's own counts after a watch of the same actor.
async fn twice(system: &ActorSystem) -> Part {
    let (heard, mut news) = probe();
    let other = system.spawn(Props::new(|| Work(probe().0)), "other");
    let watched = other.clone();
    let props = Props::new(move || Twice(heard.clone(), watched.clone()));
    system.spawn(props, "twice");
    settle().await;
    other.stop();
    settle().await;
    let counts = drain(&mut news) == ["gone"];
    let how = if counts { "counts" } else { "is refused" };
    say(&format!(
        "differs: 7 a watchWith after a watch of the same actor {how}"
    ))?;
    Ok(())
}

/// Watches the same actor in both ways.
struct Twice(Recipient<&'static str>, ActorRef<Work>);

impl Actor for Twice {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.watch(&self.1);
        ctx.watch_with(&self.1, Words("gone"));
    }
}

impl Handler<Terminated> for Twice {
    type Result = ();

    fn handle(&mut self, _: Terminated, _: &mut Context<Self>) {
        let _gone = self.0.tell("terminated");
    }
}

impl Handler<Words> for Twice {
    type Result = ();

    fn handle(&mut self, Words(words): Words, _: &mut Context<Self>) {
        let _gone = self.0.tell(words);
    }
}

/// Has a message of its own for another's end.
struct Listener {
    heard: Recipient<String>,
    other: ActorRef<Work>,
    message: &'static str,
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.watch_with(&self.other, Words(self.message));
    }
}

impl Handler<Words> for Listener {
    type Result = ();

    fn handle(&mut self, Words(words): Words, _: &mut Context<Self>) {
        let _gone = self.heard.tell(words.to_owned());
    }
}

/// What comes first: what the dead one said, or that it is dead.
async fn order(system: &ActorSystem) -> Part {
    let (heard, mut news) = probe();
    let watcher = system.spawn(Props::new(move || Watcher(heard.clone())), "watcher");
    let to_watcher = watcher.clone();
    let tell = Recipient::new(move |words| to_watcher.tell(Words(words)));
    let other = system.spawn(Props::new(move || Work(tell.clone())), "other");
    let _enqueued = watcher.tell(Watch(other));
    settle().await;
    let order = drain(&mut news).join(", then ");
    say(&format!("7 first {order}"))?;
    Ok(())
}
