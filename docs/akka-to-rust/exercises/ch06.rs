//! Exercise 6. The database of a client is down for a minute. The client must survive with at most twelve attempts to
//! connect, and must be connected within 15 s of the end of the outage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::Actor;
use kebne_actors::{ActorSystem, Context, Props, Strategy};
use tokio::time::{Instant, sleep};

fn strategy() -> Strategy {
    Strategy::restart().with_limit(10, Duration::from_mins(1))
}

struct Database {
    up_from: Instant,
    attempts: AtomicU32,
    connected: AtomicBool,
}

struct Client(Arc<Database>);

impl Actor for Client {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.0.attempts.fetch_add(1, SeqCst);
        if Instant::now() < self.0.up_from {
            ctx.fail("connection refused");
        } else {
            self.0.connected.store(true, SeqCst);
        }
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    for seed in 1..=20 {
        let database = Arc::new(Database {
            up_from: Instant::now() + Duration::from_mins(1),
            attempts: AtomicU32::new(0),
            connected: AtomicBool::new(false),
        });
        let system = ActorSystem::new("exercise", seed);
        let shared = Arc::clone(&database);
        let props = Props::new(move || Client(Arc::clone(&shared))).supervise(strategy());
        let client = system.spawn(props, "client");
        sleep(Duration::from_mins(1)).await;
        assert!(
            client.is_alive(),
            "exercise 6: the client lives through the outage"
        );
        let attempts = database.attempts.load(SeqCst);
        assert!(
            attempts <= 12,
            "exercise 6: {attempts} attempts in a minute"
        );
        sleep(Duration::from_secs(15)).await;
        let connected = database.connected.load(SeqCst);
        assert!(connected, "exercise 6: connected within 15 s of the end");
    }
}
