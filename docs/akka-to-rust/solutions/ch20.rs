//! Exercise 20. A broker asks one provider after another. It must ask no more of them once its caller has left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler, Message, ResponseFuture};
use kebne_actors::{ActorSystem, Context, Props};
use tokio::time::sleep;

/// Asks one provider after another until one answers; none does.
#[derive(Message)]
#[rtype(result = "Option<u32>")]
struct Ask {
    providers: u32,
}

struct Broker(Arc<AtomicU32>);

impl Actor for Broker {
    type Context = Context<Self>;
}

impl Handler<Ask> for Broker {
    type Result = ResponseFuture<Option<u32>>;

    fn handle(&mut self, ask: Ask, ctx: &mut Context<Self>) -> Self::Result {
        let asked = Arc::clone(&self.0);
        let asker = ctx.asker();
        Box::pin(async move {
            for _ in 0..ask.providers {
                if asker.is_cancelled() {
                    break;
                }
                asked.fetch_add(1, SeqCst);
                sleep(Duration::from_secs(1)).await;
            }
            None
        })
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let asked = Arc::new(AtomicU32::new(0));
    let shared = Arc::clone(&asked);
    let system = ActorSystem::new("exercise", 1);
    let broker = system.spawn(Props::new(move || Broker(Arc::clone(&shared))), "broker");
    let all = broker
        .ask(Ask { providers: 3 }, Duration::from_mins(1))
        .await;
    assert_eq!((all, asked.load(SeqCst)), (Ok(None), 3));
    let gone = broker.ask(Ask { providers: 100 }, Duration::from_millis(4500));
    assert!(gone.await.is_err());
    sleep(Duration::from_mins(2)).await;
    let asked = asked.load(SeqCst) - 3;
    assert_eq!(
        asked, 5,
        "exercise 20: {asked} providers for a caller who left"
    );
}
