//! Exercise 5. Bad input must be skipped with the cache kept. A lost connection must cause a restart, at most three
//! times a minute. A bug must stop the actor at once.

use std::{io, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Props, Strategy};

fn strategy() -> Strategy {
    Strategy::restart()
}

#[derive(Message)]
#[rtype(result = "u32")]
enum Get {
    Line(&'static str),
    Disconnect,
    Bug,
}

/// Counts the cached entries.
#[derive(Default)]
struct Reader {
    cached: u32,
}

impl Actor for Reader {
    type Context = Context<Self>;
}

impl Handler<Get> for Reader {
    type Result = u32;

    fn handle(&mut self, get: Get, ctx: &mut Context<Self>) -> u32 {
        match get {
            Get::Line(line) => match line.parse::<u32>() {
                Ok(_) => self.cached += 1,
                Err(error) => ctx.fail(error),
            },
            Get::Disconnect => ctx.fail(io::Error::from(io::ErrorKind::ConnectionReset)),
            Get::Bug => panic!("a bug"),
        }
        self.cached
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let second = Duration::from_secs(1);
    let system = ActorSystem::new("exercise", 1);
    let spawn = || system.spawn(Props::new(Reader::default).supervise(strategy()), "reader");

    let reader = spawn();
    assert_eq!(reader.ask(Get::Line("1"), second).await, Ok(1));
    assert_eq!(reader.ask(Get::Line("one"), second).await, Ok(1));
    let after = reader.ask(Get::Line("2"), second).await;
    assert_eq!(
        after,
        Ok(2),
        "exercise 5: bad input does not cost the cache"
    );

    for lost in 1..=3 {
        assert_eq!(reader.ask(Get::Disconnect, second).await, Ok(2));
        tokio::time::sleep(second).await;
        assert_eq!(reader.ask(Get::Line("1"), second).await, Ok(1));
        assert_eq!(reader.ask(Get::Line("2"), second).await, Ok(2));
        assert_eq!(
            reader.report().restarts,
            lost,
            "exercise 5: a lost connection restarts"
        );
    }
    assert_eq!(reader.ask(Get::Disconnect, second).await, Ok(2));
    tokio::time::sleep(second).await;
    assert!(
        !reader.is_alive(),
        "exercise 5: the fourth restart in a minute is too many"
    );

    let buggy = spawn();
    assert!(buggy.tell(Get::Bug).is_enqueued());
    tokio::time::sleep(second).await;
    assert!(!buggy.is_alive(), "exercise 5: a bug stops the actor");
}
