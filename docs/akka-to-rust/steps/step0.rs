//! Step 0: the application as it is, on stock actix.

use std::time::Duration;

use actix::{
    Actor, AsyncContext, Context, Handler, Message, MessageResult, Recipient, Supervised,
    SyncArbiter, SyncContext, SystemService,
};

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

impl Supervised for Room {}
impl SystemService for Room {}

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

/// Stands for an actor of a WebSocket: `actix-web-actors` gives it a context of its own.
#[derive(Default)]
struct Session {
    heard: Vec<String>,
}

impl Actor for Session {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let session = ctx.address().recipient();
        Room::from_registry().do_send(Join(session));
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
    let hasher = SyncArbiter::start(2, || Hasher);
    let sessions = [Session::default().start(), Session::default().start()];
    let room = Room::from_registry();
    tokio::task::yield_now().await;
    assert_eq!(room.send(Say("hello")).await.unwrap(), 2);
    for session in &sessions {
        assert_eq!(session.send(Heard).await.unwrap(), ["hello"]);
    }
    assert_eq!(hasher.send(Hash("hello")).await.unwrap(), 532);

    // A bug ends the room, for everybody.
    assert!(room.send(Say("")).await.is_err());
    assert!(room.send(Say("again")).await.is_err());
}
