//! A backend whose server the gateway starts and stops: each attempt takes a lease of the server first.
//!
//! While the server is not loaded, an attempt ends as one that a loading backend refuses, with the expected time: the lane holds
//! the other calls, asks again, and refuses those that cannot wait. Only the call that wakes the lane waits for a moment.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use kebne_control::Outcome;
use kebne_lane::{Answer, Attempt, Backend, Failure};
use kebne_servers::{Health, Lease, Server};

use crate::backend::{
    ModelBackend,
    reason::{LOADING, SERVER_FAILS},
};

/// The time for which the call that wakes the lane waits for its server; the lane repeats it within seconds.
const WAKE_PATIENCE: Duration = Duration::from_secs(1);

/// The time that is left for the answer to a caller whose deadline is near.
const ANSWER_TIME: Duration = Duration::from_millis(200);

/// A backend and its server.
#[derive(Debug)]
pub struct OwnedBackend<B> {
    client: Arc<B>,
    server: Server,
}

/// The result of an attempt.
type Attempted<T> = Result<Answer<T>, Failure>;

impl<B: Backend> OwnedBackend<B> {
    /// Creates the backend of a server from its client.
    pub fn new(client: Arc<B>, server: Server) -> Self {
        Self { client, server }
    }

    /// Returns the client.
    pub(crate) fn client(&self) -> &B {
        &self.client
    }

    /// Makes an attempt at the server, which is not stopped before the answer has ended. Boxed, because the client has the type
    /// of the backend that this one is a part of.
    pub(crate) fn attempt(
        &self,
        attempt: Attempt<B::Request>,
    ) -> Pin<Box<dyn Future<Output = Attempted<B::Response>> + Send + '_>> {
        Box::pin(async move {
            let patience = patience(&attempt);
            let lease = self.server.lease(patience).await.map_err(|not_loaded| {
                let estimated = not_loaded.eta;
                let message = not_loaded.to_string();
                let fails = not_loaded.failing.is_some();
                let reason = if fails { SERVER_FAILS } else { LOADING };
                Failure::new(Outcome::Cold { estimated }, message).because(reason)
            })?;
            match self.client.attempt(attempt).await {
                Ok(answer) => Ok(holding(lease, answer)),
                Err(failure) => {
                    let is_suspect = matches!(
                        failure.outcome,
                        Outcome::Cold { .. } | Outcome::Absent { .. } | Outcome::Fault
                    );
                    if is_suspect {
                        lease.suspect();
                    }
                    Err(failure)
                }
            }
        })
    }
}

/// Returns the time for which an attempt waits for its server.
fn patience<R>(attempt: &Attempt<R>) -> Duration {
    if !attempt.wake {
        return Duration::ZERO;
    }
    let left = attempt.first_part_timeout.unwrap_or(WAKE_PATIENCE);
    // So that the caller learns that the server loads, instead of a timeout.
    WAKE_PATIENCE.min(left.saturating_sub(ANSWER_TIME))
}

/// Keeps a lease until a streamed answer has ended.
fn holding<T>(lease: Lease, mut answer: Answer<T>) -> Answer<T> {
    answer.tail = answer.tail.map(|tail| {
        let held: kebne_lane::Tail = Box::pin(async move {
            let ending = tail.await;
            drop(lease);
            ending
        });
        held
    });
    answer
}

/// Asks a path of a server.
pub(crate) struct PathAnswers {
    /// The client of the server.
    pub(crate) client: Arc<ModelBackend>,
    /// The path, from the root.
    pub(crate) path: String,
}

impl Health for PathAnswers {
    fn check(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async {
            let checked = self.client.check(&self.path).await;
            checked.map_err(|failed| failed.message)
        })
    }
}
