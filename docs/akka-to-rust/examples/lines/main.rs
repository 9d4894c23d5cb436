//! Prints what the chapters say of Kebne, one line for each fact; the program in `pekko/` prints what Pekko does.
//! `scripts/compare-with-pekko` compares the two.
//!
//! A line that begins with `differs: ` stands for a difference that the chapters name.

use std::{
    error::Error,
    io::{self, Write},
    time::Duration,
};

use kebne_actors::{Offer, Recipient};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

mod beyond;
mod blocking;
mod breaker_retry;
mod carts;
mod chat;
mod delivery;
mod failure;
mod hakkers;
mod hello;
mod iot;
mod mailboxes;
mod moving;
mod operators;
mod patterns;
mod rate;
mod routers;
mod shutdown;
mod sse;
mod stash_timers;
mod streams;
mod supervision;
mod testing;
mod watch;
mod weather;
mod work_pulling;

/// The end of a part of the program.
type Part = Result<(), Box<dyn Error>>;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[actix::main]
async fn main() -> Part {
    tokio::time::pause();
    hello::run().await?;
    chat::run().await?;
    patterns::run().await?;
    failure::run().await?;
    supervision::run().await?;
    supervision::backoff().await?;
    watch::run().await?;
    stash_timers::run().await?;
    streams::run().await?;
    hakkers::run().await?;
    routers::run().await?;
    work_pulling::run().await?;
    breaker_retry::run().await?;
    rate::run().await?;
    testing::run().await?;
    shutdown::run().await?;
    carts::run().await?;
    mailboxes::run().await?;
    blocking::run().await?;
    beyond::run().await?;
    moving::run().await?;
    iot::run().await?;
    operators::run().await?;
    sse::run().await?;
    weather::run().await?;
    delivery::run().await
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A recipient, and what it received.
fn probe<M: Send + 'static>() -> (Recipient<M>, UnboundedReceiver<M>) {
    let (sender, receiver) = unbounded_channel();
    let receive = move |message| match sender.send(message) {
        Ok(()) => Offer::Enqueued,
        Err(_) => Offer::Closed,
    };
    (Recipient::new(receive), receiver)
}

/// Lets everybody do what is due now.
async fn settle() {
    tokio::time::sleep(MS).await;
}

/// Takes all that a probe has received so far.
fn drain<M>(received: &mut UnboundedReceiver<M>) -> Vec<M> {
    std::iter::from_fn(|| received.try_recv().ok()).collect()
}

/// Writes words in a row.
fn words(all: impl IntoIterator<Item = impl ToString>) -> String {
    let all: Vec<_> = all.into_iter().map(|word| word.to_string()).collect();
    all.join(" ")
}
