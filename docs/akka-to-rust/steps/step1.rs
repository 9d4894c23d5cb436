//! Step 1: the room is spawned and supervised.

use std::time::Duration;

use actix::{
    Actor, Addr, AsyncContext, Handler, Message, MessageResult, Recipient, SyncArbiter, SyncContext,
};
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Props, Strategy};

/// What a session hears.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Said(String);

#[derive(Message)]
#[rtype(result = "()")]
struct Join(Recipient<Said>);

/// Answered with the number of sessions that it was sent to.
#[derive(Message)]
#[rtype(result = "usize")]
struct Say(&'static str);

#[derive(Message)]
#[rtype(result = "u64")]
struct Hash(&'static str);

#[derive(Message)]
#[rtype(result = "Vec<String>")]
struct Heard;

#[derive(Default)]
struct Room {
    sessions: Vec<Recipient<Said>>,
    this_minute: u32,
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_mins(1), |room, _| room.this_minute = 0);
    }
}

impl Handler<Join> for Room {
    type Result = ();

    fn handle(&mut self, Join(session): Join, _: &mut Self::Context) {
        self.sessions.push(session);
    }
}

impl Handler<Say> for Room {
    type Result = usize;

    fn handle(&mut self, Say(text): Say, _: &mut Self::Context) -> usize {
        assert!(!text.is_empty(), "a bug");
        self.this_minute += 1;
        for session in &self.sessions {
            session.do_send(Said(text.to_owned()));
        }
        self.sessions.len()
    }
}

/// Computes for long, so that it has threads of its own.
struct Hasher;

impl Actor for Hasher {
    type Context = SyncContext<Self>;
}

impl Handler<Hash> for Hasher {
    type Result = u64;

    fn handle(&mut self, Hash(text): Hash, _: &mut Self::Context) -> u64 {
        text.bytes().map(u64::from).sum()
    }
}

/// Stands for an actor of a WebSocket: it stays as it is, and is given the room.
struct Session {
    room: ActorRef<Room>,
    heard: Vec<String>,
}

impl Session {
    fn start(room: &ActorRef<Room>) -> Addr<Self> {
        let room = room.clone();
        Actor::start(Self {
            room,
            heard: Vec::new(),
        })
    }
}

impl Actor for Session {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let session = ctx.address().recipient();
        self.room.post(Join(session));
    }
}

impl Handler<Said> for Session {
    type Result = ();

    fn handle(&mut self, Said(text): Said, _: &mut Self::Context) {
        self.heard.push(text);
    }
}

impl Handler<Heard> for Session {
    type Result = MessageResult<Heard>;

    fn handle(&mut self, _: Heard, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.heard.clone())
    }
}

pub(crate) async fn check() {
    let second = Duration::from_secs(1);
    let system = ActorSystem::new("chat", 1);
    let props = Props::new(Room::default).supervise(Strategy::restart());
    let room = system.spawn(props, "room");
    let hasher = SyncArbiter::start(2, || Hasher);
    let sessions = [Session::start(&room), Session::start(&room)];
    tokio::task::yield_now().await;
    assert_eq!(room.ask(Say("hello"), second).await, Ok(2));
    for session in &sessions {
        assert_eq!(session.send(Heard).await.unwrap(), ["hello"]);
    }
    assert_eq!(hasher.send(Hash("hello")).await.unwrap(), 532);

    // A bug fails one ask. The room goes on, with fresh state: nobody is in it.
    assert_eq!(room.ask(Say(""), second).await, Err(AskError::Failed));
    assert_eq!(room.ask(Say("again"), second).await, Ok(0));
}
