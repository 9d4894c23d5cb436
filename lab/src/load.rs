//! An open-loop load: calls are sent when they are due, regardless of the answers, and each has one ending in the report.
//!
//! It measures a gateway from its callers' side. A closed loop would slow down with the service and hide the effects
//! of overload. Here a slow service only means more calls in flight. It never retries or delays a call.

use std::{sync::Arc, time::Duration};

use reqwest::Url;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

mod call;
mod plan;
mod report;

pub use call::{Call, End};
pub use plan::{Offered, Plan, PlanError};
pub use report::{Latency, Report};

/// The number of calls that may be in flight at once. A further one is not sent, and is counted as failed.
const IN_FLIGHT_MAX: usize = 10_000;

/// The service that the calls are sent to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The HTTP client that sends the calls.
    pub client: reqwest::Client,
    /// The service's base URL, such as `http://127.0.0.1:8080/v1`.
    pub url: Url,
    /// The name of the model.
    pub model: String,
    /// The API key, if the service needs one.
    pub key: Option<String>,
}

/// Receives the progress of a load.
pub trait Watcher {
    /// Called when a call has ended, with the number of calls in flight.
    fn ended(&self, call: &Call, in_flight: usize);
}

/// The reason why a load could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The base URL cannot be extended.
    #[error("`{0}` is not a base URL of a service")]
    Url(Url),
}

/// Sends the calls of a plan when they are due, and waits for the end of each.
///
/// # Errors
/// Fails if the target's URL is not a base URL.
pub async fn drive(
    plan: &Plan,
    target: &Target,
    watcher: &dyn Watcher,
) -> Result<Report, LoadError> {
    let sender = Arc::new(call::Sender::new(target, plan)?);
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let mut ended = Vec::with_capacity(plan.calls.len());
    let mut book = |call: Call, in_flight: usize| {
        watcher.ended(&call, in_flight);
        ended.push(call);
    };
    for offered in &plan.calls {
        let due = start + offered.at;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(due) => break,
                Some(call) = under_way.join_next() => {
                    book(joined(call), under_way.len());
                }
            }
        }
        if under_way.len() >= IN_FLIGHT_MAX {
            book(Call::not_sent(*offered), under_way.len());
            continue;
        }
        let sender = Arc::clone(&sender);
        let offered = *offered;
        under_way.spawn_local(async move { sender.send(offered, due).await });
    }
    while let Some(call) = under_way.join_next().await {
        book(joined(call), under_way.len());
    }
    Ok(Report::new(plan, ended, start.elapsed()))
}

/// Counts a task that panicked as a failed call.
fn joined(call: Result<Call, tokio::task::JoinError>) -> Call {
    call.unwrap_or_else(|error| Call {
        id: usize::MAX,
        late: Duration::ZERO,
        latency: Duration::ZERO,
        first_part: None,
        end: End::Failed(format!("driver: {error}")),
    })
}

#[cfg(test)]
mod tests;
