//! Exercise 16. A mailer is stopped while letters wait in its mailbox. Those that can be sent within the 5 s of a phase must be sent;
//! then it must stop all the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, AtomicResponse, Handler, Message, fut::wrap_future};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Props,
    shutdown::{CoordinatedShutdown, Phases, Reason},
};

#[derive(Message)]
#[rtype(result = "()")]
struct Letter;

/// Stops the mailer behind the letters before it.
#[derive(Message)]
#[rtype(result = "()")]
struct Close;

struct Mailer(Arc<AtomicU32>);

impl Actor for Mailer {
    type Context = Context<Self>;
}

impl Handler<Letter> for Mailer {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Letter, _: &mut Context<Self>) -> Self::Result {
        self.0.fetch_add(1, SeqCst);
        let sending = tokio::time::sleep(Duration::from_millis(100));
        AtomicResponse::new(Box::pin(wrap_future(sending)))
    }
}

impl Handler<Close> for Mailer {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

fn shutdown(system: &ActorSystem, _mailer: &ActorRef<Mailer>) -> CoordinatedShutdown {
    let shutdown = CoordinatedShutdown::new(Phases::default()).unwrap();
    // The mailer is stopped with all other actors.
    shutdown.add_system(system).unwrap();
    shutdown
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    for (letters, sent_at_least, sent_at_most) in [(20, 20, 20), (1000, 45, 60)] {
        let system = ActorSystem::new("exercise", 1);
        let sent = Arc::new(AtomicU32::new(0));
        let shared = Arc::clone(&sent);
        let props = Props::new(move || Mailer(Arc::clone(&shared)));
        let mailer = system.spawn(props.mailbox(2000), "mailer");
        for _ in 0..letters {
            assert!(mailer.tell(Letter).is_enqueued());
        }
        let begun = tokio::time::Instant::now();
        shutdown(&system, &mailer).run(Reason::Requested).await;
        let (sent, took) = (sent.load(SeqCst), begun.elapsed());
        assert!(
            (sent_at_least..=sent_at_most).contains(&sent),
            "exercise 16: {sent} of {letters} letters were sent"
        );
        assert!(
            took < Duration::from_secs(7),
            "exercise 16: it took {took:?}"
        );
        assert!(!mailer.is_alive(), "exercise 16: the mailer has stopped");
    }
}
