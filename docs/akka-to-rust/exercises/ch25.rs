//! Exercise 25. A route in front of an actor. A client must know from the status whether to come back: 503 with `retry-after`
//! while the actor restarts, 504 where it is late, 500 for a bug.

use std::time::Duration;

use actix::{Actor, AtomicResponse, Handler, Message, fut::wrap_future};
use actix_web::HttpResponse;
use kebne_actors::{ActorRef, ActorSystem, AskError, Context, Props, Strategy};

#[derive(Message)]
#[rtype(result = "u32")]
enum Work {
    Good,
    Slow,
    Bug,
}

struct Worker;

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Work> for Worker {
    type Result = AtomicResponse<Self, u32>;

    fn handle(&mut self, work: Work, _: &mut Context<Self>) -> Self::Result {
        let seconds = match work {
            Work::Good => 0,
            Work::Slow => 2,
            Work::Bug => panic!("a bug"),
        };
        AtomicResponse::new(Box::pin(wrap_future(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            42
        })))
    }
}

fn failed(error: AskError) -> HttpResponse {
    HttpResponse::InternalServerError().body(error.to_string())
}

async fn route(worker: &ActorRef<Worker>, work: Work) -> HttpResponse {
    match worker.ask(work, Duration::from_secs(1)).await {
        Ok(answer) => HttpResponse::Ok().body(answer.to_string()),
        Err(error) => failed(error),
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let second = Duration::from_secs(1);
    let system = ActorSystem::new("exercise", 1);
    let strategy = Strategy::restart()
        .with_backoff(5 * second, 5 * second)
        .reject_while_restarting();
    let worker = system.spawn(Props::new(|| Worker).supervise(strategy), "worker");
    let answer = route(&worker, Work::Good).await;
    assert_eq!(answer.status().as_u16(), 200);
    let answer = route(&worker, Work::Bug).await;
    assert_eq!(answer.status().as_u16(), 500, "exercise 25: a bug is a 500");
    let answer = route(&worker, Work::Good).await;
    assert_eq!(
        answer.status().as_u16(),
        503,
        "exercise 25: an actor that restarts is a 503"
    );
    assert!(
        answer.headers().contains_key("retry-after"),
        "exercise 25: a 503 says when to come back"
    );
    tokio::time::sleep(10 * second).await;
    let answer = route(&worker, Work::Slow).await;
    assert_eq!(
        answer.status().as_u16(),
        504,
        "exercise 25: an actor that is late is a 504"
    );
}
