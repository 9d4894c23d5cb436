//! Solution of exercise 8. Commands that arrive before the connection is open must be kept, in order. An actor without a
//! connection after 5 s must stop.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Props};

#[derive(Message)]
#[rtype(result = "()")]
struct Command(u32);

#[derive(Message)]
#[rtype(result = "()")]
struct Opened;

#[derive(Message)]
#[rtype(result = "()")]
struct GiveUp;

/// The commands that were sent over the connection.
type Wire = Arc<Mutex<Vec<u32>>>;

struct Connection {
    wire: Wire,
    open: bool,
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer("give up", GiveUp, Duration::from_secs(5));
    }
}

impl Handler<GiveUp> for Connection {
    type Result = ();

    fn handle(&mut self, _: GiveUp, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Opened> for Connection {
    type Result = ();

    fn handle(&mut self, _: Opened, ctx: &mut Context<Self>) {
        self.open = true;
        ctx.cancel_timer("give up");
        ctx.unstash_all();
    }
}

impl Handler<Command> for Connection {
    type Result = ();

    fn handle(&mut self, command: Command, ctx: &mut Context<Self>) {
        if self.open {
            self.wire.lock().unwrap().push(command.0);
        } else if ctx.stash(command).is_err() {
            // As many as may wait do; more are a failure of the connection.
            ctx.fail("too many commands wait for the connection");
        }
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let system = ActorSystem::new("exercise", 1);
    let wire = Wire::default();
    let spawn = || {
        let wire = Arc::clone(&wire);
        let make = move || Connection {
            wire: Arc::clone(&wire),
            open: false,
        };
        system.spawn(Props::new(make), "connection")
    };

    let connection = spawn();
    for number in 1..=2 {
        assert!(connection.tell(Command(number)).is_enqueued());
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(connection.tell(Opened).is_enqueued());
    assert!(connection.tell(Command(3)).is_enqueued());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(
        *wire.lock().unwrap(),
        [1, 2, 3],
        "exercise 8: no command is lost"
    );
    assert!(
        connection.is_alive(),
        "exercise 8: an open connection stays"
    );

    let silent = spawn();
    assert!(silent.tell(Command(4)).is_enqueued());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(
        !silent.is_alive(),
        "exercise 8: without a connection it gives up"
    );
}
