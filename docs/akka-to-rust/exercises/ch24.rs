//! Exercise 24. A relay sends a model's tokens to a client as events. The model must not be ahead of a client that reads
//! slowly, and must stop when the client leaves.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use kebne_streams::testkit::SinkProbe;
use tokio::sync::mpsc::unbounded_channel;

fn relay(tokens: impl Stream<Item = String> + Send + 'static) -> impl Stream<Item = String> {
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        let mut tokens = pin!(tokens);
        while let Some(token) = tokens.next().await {
            let _gone = sender.send(format!("data: {token}\n\n"));
        }
    });
    stream::unfold(receiver, async |mut receiver| {
        let event = receiver.recv().await?;
        Some((event, receiver))
    })
    .boxed()
}

// The check: leave it as it is.

/// Dropped with the model's stream.
struct Stops(Arc<AtomicBool>);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

pub(crate) async fn check() {
    tokio::time::pause();
    let produced = Arc::new(AtomicU32::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let (counter, stops) = (Arc::clone(&produced), Stops(Arc::clone(&stopped)));
    let model = stream::iter(1..=1000).then(move |number| {
        let _while_it_runs = &stops;
        counter.fetch_add(1, SeqCst);
        async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            format!("token {number}")
        }
    });
    let mut client = SinkProbe::new(relay(model));
    client.expect_next(&"data: token 1\n\n".to_owned()).await;
    client.expect_next(&"data: token 2\n\n".to_owned()).await;
    // The client is away.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ahead = produced.load(SeqCst) - 2;
    assert!(
        ahead <= 2,
        "exercise 24: the model is {ahead} tokens ahead of its reader"
    );
    client.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        stopped.load(SeqCst),
        "exercise 24: the model goes on though its client has left"
    );
}
