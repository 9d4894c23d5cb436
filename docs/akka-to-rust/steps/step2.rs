//! Step 2: the sessions outlive a restart of the room, which is found by a key.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{
    Actor, Addr, AsyncContext, Handler, Message, MessageResult, Recipient, SyncArbiter, SyncContext,
};
use kebne_actors::{ActorSystem, AskError, Context, Props, ServiceKey, Strategy};

/// The key under which rooms are listed: actix's registry.
fn rooms() -> ServiceKey<Join> {
    ServiceKey::new("rooms")
}

/// What outlives a restart is given to the factory.
type Sessions = Arc<Mutex<Vec<Recipient<Said>>>>;

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

struct Room {
    sessions: Sessions,
    this_minute: u32,
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_mins(1), |room, _| room.this_minute = 0);
        let myself = ctx.self_ref();
        ctx.system().receptionist().register(&rooms(), &myself);
    }
}

impl Handler<Join> for Room {
    type Result = ();

    fn handle(&mut self, Join(session): Join, _: &mut Self::Context) {
        self.sessions.lock().unwrap().push(session);
    }
}

impl Handler<Say> for Room {
    type Result = usize;

    fn handle(&mut self, Say(text): Say, _: &mut Self::Context) -> usize {
        assert!(!text.is_empty(), "a bug");
        self.this_minute += 1;
        let mut sessions = self.sessions.lock().unwrap();
        // A session that has left is forgotten.
        sessions.retain(Recipient::connected);
        for session in sessions.iter() {
            session.do_send(Said(text.to_owned()));
        }
        sessions.len()
    }
}

fn room(sessions: Sessions) -> Props<Room> {
    let room = move || Room {
        sessions: Arc::clone(&sessions),
        this_minute: 0,
    };
    Props::new(room).supervise(Strategy::restart())
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

/// Stands for an actor of a WebSocket: it stays as it is, and finds the room by its key.
struct Session {
    system: ActorSystem,
    heard: Vec<String>,
}

impl Session {
    fn start(system: &ActorSystem) -> Addr<Self> {
        let system = system.clone();
        Actor::start(Self {
            system,
            heard: Vec::new(),
        })
    }
}

impl Actor for Session {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let session = ctx.address().recipient();
        for room in self.system.receptionist().find(&rooms()).0 {
            room.actor.recipient().post(Join(session.clone()));
        }
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
    let room = system.spawn(room(Sessions::default()), "room");
    tokio::task::yield_now().await;
    let hasher = SyncArbiter::start(2, || Hasher);
    let sessions = [Session::start(&system), Session::start(&system)];
    tokio::task::yield_now().await;
    assert_eq!(room.ask(Say("hello"), second).await, Ok(2));
    assert_eq!(hasher.send(Hash("hello")).await.unwrap(), 532);

    // A bug fails one ask. The room goes on, and everybody is still in it.
    assert_eq!(room.ask(Say(""), second).await, Err(AskError::Failed));
    assert_eq!(room.ask(Say("again"), second).await, Ok(2));
    for session in &sessions {
        assert_eq!(session.send(Heard).await.unwrap(), ["hello", "again"]);
    }
}
