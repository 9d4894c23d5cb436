//! Exercise 12. Every third attempt to send a letter crashes. All ten letters must be sent in the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler, ResponseFuture};
use kebne_actors::{
    ActorSystem, Context, Props, Strategy,
    work_pulling::{Delivery, WorkPulling},
};
use tokio::time::sleep;

struct Letter;

/// Attempts and letters that were sent.
#[derive(Default)]
struct Post {
    attempts: AtomicU32,
    sent: AtomicU32,
}

struct Sender(Arc<Post>);

impl Actor for Sender {
    type Context = Context<Self>;
}

impl Handler<Delivery<Letter>> for Sender {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, delivery: Delivery<Letter>, _: &mut Context<Self>) -> Self::Result {
        let post = Arc::clone(&self.0);
        Box::pin(async move {
            sleep(Duration::from_millis(10)).await;
            // Every third attempt crashes.
            let attempt = post.attempts.fetch_add(1, SeqCst);
            assert!(attempt % 3 != 2, "the worker crashes");
            post.sent.fetch_add(1, SeqCst);
            delivery.confirm();
        })
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let system = ActorSystem::new("exercise", 1);
    let desk = WorkPulling::builder().spawn(&system, "desk");
    let post = Arc::new(Post::default());
    let shared = Arc::clone(&post);
    let props = Props::new(move || Sender(Arc::clone(&shared)));
    let sender = system.spawn(props.supervise(Strategy::restart()), "sender");
    desk.register(&sender);
    for _ in 0..10 {
        assert!(desk.offer(Letter).is_enqueued());
    }
    sleep(Duration::from_secs(10)).await;
    let sent = post.sent.load(SeqCst);
    assert_eq!(sent, 10, "exercise 12: every letter is sent");
}
