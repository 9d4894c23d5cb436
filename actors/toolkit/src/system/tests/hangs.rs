//! Waits without progress, and askers who wait no more.

use std::time::Duration;

use actix::{AsyncContext, WrapFuture};

use super::plain::*;
use crate::system::*;

#[actix::test]
async fn an_actor_that_waits_beyond_its_deadline_fails_and_goes_on_with_its_mailbox() {
    tokio::time::pause();
    let (system, log) = (ActorSystem::new("test", 1), Log::default());
    let props = plain(&log)
        .supervise(Strategy::restart())
        .hang_after(SECOND);
    let actor = system.spawn(props, "a");
    act(&actor, |ctx| {
        ctx.wait(std::future::pending().into_actor(&Plain(Log::default())));
    });
    assert!(actor.tell(Note(1)).is_enqueued());
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!((taken(&log), actor.report().restarts), (vec![], 0));
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!((taken(&log), actor.report().restarts), (vec![1], 1));
}

#[actix::test]
async fn the_token_of_an_ask_is_cancelled_when_the_asker_waits_no_more() {
    tokio::time::pause();
    let system = ActorSystem::new("test", 1);
    let actor = system.spawn(plain(&Log::default()), "a");
    let (tell, mut told) = tokio::sync::oneshot::channel();
    let message = Do(Box::new(move |ctx| {
        let token = ctx.asker();
        let _nobody_else_receives = tell.send((token.is_cancelled(), token));
    }));
    assert_eq!(actor.ask(message, SECOND).await, Ok(()));
    let (cancelled_when_handled, token) = told.try_recv().unwrap();
    assert!(!cancelled_when_handled && token.is_cancelled());
}

#[actix::test]
async fn a_handler_that_holds_its_thread_is_reported_while_it_does() {
    let system = ActorSystem::new("test", 1);
    let (report, reported) = std::sync::mpsc::channel();
    let subscriber = Recipient::new(move |blocked: Blocked| match report.send(blocked) {
        Ok(()) => Offer::Enqueued,
        Err(_) => Offer::Closed,
    });
    system.events().subscribe(subscriber);
    let arbiter = actix_rt::Arbiter::new();
    let limit = Duration::from_millis(5);
    let props = plain(&Log::default())
        .report_blocked_after(limit)
        .on_arbiter(arbiter.handle());
    let actor = system.spawn(props, "a");
    let (tell, told) = tokio::sync::oneshot::channel();
    act(&actor, move |_| {
        // Held until the report has come; without a report this test never ends.
        let _nobody_else_receives = tell.send(reported.recv());
    });
    let blocked = told.await.unwrap().unwrap();
    assert_eq!((&*blocked.path, blocked.limit), ("/user/a", limit));
    assert!(blocked.doing.ends_with("Do"), "{}", blocked.doing);
    system.terminate().await;
    arbiter.stop();
}
