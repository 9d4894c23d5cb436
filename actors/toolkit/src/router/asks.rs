//! Asks several routees and returns the first answer.

use std::time::Duration;

use actix::Message;
use futures_util::{StreamExt, future::select_ok, stream::FuturesUnordered};
use tokio::time::sleep;

use crate::system::{AskError, MessageRef};

/// Asks all routees. Returns the first answer, or the last error if there is no answer.
pub(super) async fn first<M>(
    routees: Vec<MessageRef<M>>,
    copy: impl Fn() -> M,
    timeout: Duration,
) -> Result<M::Result, AskError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let asks = routees
        .iter()
        .map(|routee| Box::pin(routee.ask(copy(), timeout)));
    let asks: Vec<_> = asks.collect();
    if asks.is_empty() {
        return Err(AskError::Stopped);
    }
    let (answer, _others) = select_ok(asks).await?;
    Ok(answer)
}

/// Asks one routee after the other, the next one when `interval` has passed or an ask has failed. Returns the first
/// answer.
pub(super) async fn in_turn<M>(
    routees: Vec<MessageRef<M>>,
    copy: impl Fn() -> M,
    interval: Duration,
    timeout: Duration,
) -> Result<M::Result, AskError>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let asking = async {
        let mut asks = FuturesUnordered::new();
        let mut error = AskError::Stopped;
        for routee in &routees {
            asks.push(routee.ask(copy(), timeout));
            tokio::select! {
                biased;
                Some(answer) = asks.next() => match answer {
                    Ok(answer) => return Ok(answer),
                    Err(refusal) => error = refusal,
                },
                () = sleep(interval) => {}
            }
        }
        while let Some(answer) = asks.next().await {
            match answer {
                Ok(answer) => return Ok(answer),
                Err(refusal) => error = refusal,
            }
        }
        Err(error)
    };
    let answered = tokio::time::timeout(timeout, asking).await;
    answered.unwrap_or(Err(AskError::TimedOut))
}
