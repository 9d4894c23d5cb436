//! Solution of exercise 3. The prices of the shops must be available after 100 ms, without the shop that does not answer.

use std::time::Duration;

use actix::{Actor, Handler, Message, ResponseFuture};
use futures_util::future::join_all;
use kebne_actors::{ActorRef, ActorSystem, Context, Props};

#[derive(Message)]
#[rtype(result = "u32")]
struct Price;

/// Answers after the given number of milliseconds.
struct Shop(u64);

impl Actor for Shop {
    type Context = Context<Self>;
}

impl Handler<Price> for Shop {
    type Result = ResponseFuture<u32>;

    fn handle(&mut self, _: Price, _: &mut Context<Self>) -> ResponseFuture<u32> {
        let delay = self.0;
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            u32::try_from(delay).unwrap_or(u32::MAX)
        })
    }
}

async fn prices(shops: &[ActorRef<Shop>]) -> Vec<u32> {
    let asks = shops
        .iter()
        .map(|shop| shop.ask(Price, Duration::from_millis(100)));
    let answers = join_all(asks).await;
    answers.into_iter().flatten().collect()
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let system = ActorSystem::new("exercise", 1);
    let shops =
        [10, 1_000_000, 50].map(|delay| system.spawn(Props::new(move || Shop(delay)), "shop"));
    let start = tokio::time::Instant::now();
    let prices = tokio::time::timeout(Duration::from_secs(1), prices(&shops)).await;
    let took = start.elapsed();
    assert_eq!(
        prices,
        Ok(vec![10, 50]),
        "exercise 3: the silent shop is left out"
    );
    assert!(
        took <= Duration::from_millis(110),
        "exercise 3: it took {took:?}"
    );
}
