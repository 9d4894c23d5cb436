//! Exercise 2. A room must not admit two clients with the same name: the second must receive `Denied`.

use std::sync::{Arc, Mutex};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Offer, Props, Recipient};

#[derive(Message)]
#[rtype(result = "()")]
struct GetSession {
    name: String,
    reply_to: Recipient<SessionEvent>,
}

#[derive(Debug, PartialEq, Message)]
#[rtype(result = "()")]
enum SessionEvent {
    Granted,
    Denied,
}

#[derive(Default)]
struct Room {
    names: Vec<String>,
}

impl Actor for Room {
    type Context = Context<Self>;
}

impl Handler<GetSession> for Room {
    type Result = ();

    fn handle(&mut self, GetSession { name, reply_to }: GetSession, _: &mut Context<Self>) {
        self.names.push(name);
        let _gone = reply_to.tell(SessionEvent::Granted);
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let system = ActorSystem::new("exercise", 1);
    let room = system.spawn(Props::new(Room::default), "room");
    let heard = Arc::new(Mutex::new(Vec::new()));
    for name in ["Ada", "Bob", "Ada"] {
        let notes = Arc::clone(&heard);
        let reply_to = Recipient::new(move |event| {
            notes.lock().unwrap().push(event);
            Offer::Enqueued
        });
        let name = name.to_owned();
        assert!(room.tell(GetSession { name, reply_to }).is_enqueued());
    }
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let expected = [
        SessionEvent::Granted,
        SessionEvent::Granted,
        SessionEvent::Denied,
    ];
    assert_eq!(
        *heard.lock().unwrap(),
        expected,
        "exercise 2: a name is given once"
    );
}
