//! Chapter 1.

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Recipient};

use crate::{Part, SECOND, drain, probe, say};

#[derive(Message)]
#[rtype(result = "()")]
struct Increment;

#[derive(Message)]
#[rtype(result = "u32")]
struct GetValue;

struct Counter(u32);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Increment> for Counter {
    type Result = ();

    fn handle(&mut self, _: Increment, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

impl Handler<GetValue> for Counter {
    type Result = u32;

    fn handle(&mut self, _: GetValue, _: &mut Context<Self>) -> u32 {
        self.0
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Greet(&'static str, Recipient<Greeted>);

#[derive(Message)]
#[rtype(result = "()")]
struct Greeted(&'static str);

struct Greeter;

impl Actor for Greeter {
    type Context = Context<Self>;
}

impl Handler<Greet> for Greeter {
    type Result = ();

    fn handle(&mut self, Greet(whom, reply_to): Greet, _: &mut Context<Self>) {
        let _gone = reply_to.tell(Greeted(whom));
    }
}

struct Bot {
    greeter: ActorRef<Greeter>,
    left: u32,
    done: Recipient<String>,
}

impl Bot {
    fn greet(&self, ctx: &Context<Self>) {
        let greet = Greet("World", ctx.self_ref().recipient());
        let _gone = self.greeter.tell(greet);
    }
}

impl Actor for Bot {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.greet(ctx);
    }
}

impl Handler<Greeted> for Bot {
    type Result = ();

    fn handle(&mut self, Greeted(whom): Greeted, ctx: &mut Context<Self>) {
        let _gone = self.done.tell(format!("greeted {whom}"));
        self.left -= 1;
        if self.left == 0 {
            ctx.stop();
        } else {
            self.greet(ctx);
        }
    }
}

/// Spawns two children of one name, and tells the path of the second.
struct Parent(Recipient<String>);

impl Actor for Parent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn_child(Props::new(|| Greeter), "twin");
        let second = ctx.spawn_child(Props::new(|| Greeter), "twin");
        let _gone = self.0.tell(second.path().to_owned());
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("hello", 1);
    let counter = system.spawn(Props::new(|| Counter(0)), "counter");
    for _ in 0..3 {
        let _enqueued = counter.tell(Increment);
    }
    say(&format!(
        "1 counter: {}",
        counter.ask(GetValue, SECOND).await?
    ))?;

    let greeter = system.spawn(Props::new(|| Greeter), "greeter");
    let (done, mut greeted) = probe();
    let props = Props::new(move || Bot {
        greeter: greeter.clone(),
        left: 3,
        done: done.clone(),
    });
    system.spawn(props, "bot").when_stopped().await;
    for line in drain(&mut greeted) {
        say(&format!("1 bot: {line}"))?;
    }
    say("1 bot: stopped")?;

    let (tell, mut names) = probe();
    system.spawn(Props::new(move || Parent(tell.clone())), "parent");
    crate::settle().await;
    let twins = drain(&mut names);
    let numbered = twins
        .iter()
        .all(|path| path.starts_with("/user/parent/twin-"));
    let how = if numbered { "numbered" } else { "refused" };
    say(&format!(
        "differs: 2 a child by a name that is taken is {how}"
    ))?;
    Ok(())
}
