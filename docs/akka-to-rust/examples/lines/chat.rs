//! Chapter 2.

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Recipient};

use crate::{Part, drain, probe, say, settle};

#[derive(Message)]
#[rtype(result = "()")]
struct GetSession(&'static str, Recipient<SessionEvent>);

#[derive(Message)]
#[rtype(result = "()")]
struct Publish(&'static str, &'static str);

#[derive(Message)]
#[rtype(result = "()")]
struct Post(&'static str);

#[derive(Clone, Message)]
#[rtype(result = "()")]
enum SessionEvent {
    Granted(Recipient<Post>),
    Posted(&'static str, &'static str),
}

#[derive(Default)]
struct Room {
    clients: Vec<Recipient<SessionEvent>>,
}

impl Actor for Room {
    type Context = Context<Self>;
}

impl Handler<GetSession> for Room {
    type Result = ();

    fn handle(&mut self, GetSession(name, client): GetSession, ctx: &mut Context<Self>) {
        let room = ctx.self_ref();
        let props = Props::new(move || Session(name, room.clone()));
        let session = ctx.spawn_child(props, &format!("session-{name}"));
        let _gone = client.tell(SessionEvent::Granted(session.recipient()));
        self.clients.push(client);
    }
}

impl Handler<Publish> for Room {
    type Result = ();

    fn handle(&mut self, Publish(name, text): Publish, _: &mut Context<Self>) {
        for client in &self.clients {
            let _gone = client.tell(SessionEvent::Posted(name, text));
        }
    }
}

/// One client in the room.
struct Session(&'static str, ActorRef<Room>);

impl Actor for Session {
    type Context = Context<Self>;
}

impl Handler<Post> for Session {
    type Result = ();

    fn handle(&mut self, Post(text): Post, _: &mut Context<Self>) {
        let _gone = self.1.tell(Publish(self.0, text));
    }
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("chat", 1);
    let room = system.spawn(Props::new(Room::default), "room");
    let ((ann, mut to_ann), (bob, mut to_bob)) = (probe(), probe());
    let _enqueued = room.tell(GetSession("ann", ann));
    settle().await;
    let session = match drain(&mut to_ann).pop() {
        Some(SessionEvent::Granted(session)) => Some(session),
        _ => None,
    };
    say(&format!(
        "2 ann is granted a session: {}",
        session.is_some()
    ))?;
    let _enqueued = room.tell(GetSession("bob", bob));
    settle().await;
    let granted = matches!(drain(&mut to_bob)[..], [SessionEvent::Granted(_)]);
    say(&format!("2 bob too: {granted}"))?;
    if let Some(session) = session {
        let _enqueued = session.tell(Post("hello"));
    }
    settle().await;
    for event in [drain(&mut to_ann), drain(&mut to_bob)].concat() {
        if let SessionEvent::Posted(name, text) = event {
            say(&format!("2 heard of {name}: {text}"))?;
        }
    }
    system.terminate().await;
    Ok(())
}
