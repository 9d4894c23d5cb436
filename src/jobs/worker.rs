//! Carries out jobs: each call passes the same stages as a live call of its key.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use actix_web::{
    http::{
        StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
    web::Data,
};
use kebne_jobs::{Collecting, Delivered, Delivery, Leased, Outcome, Work, Worker};

use crate::{
    jobs::{JobRequest, JobResult, ResultHead, batch, webhook},
    stages::{self, Answered, Arrival, Body, Head, Maker, Meaning},
    state::State,
    surface::{self, error::ApiError, openai},
    unix_time,
};

/// The wait before a job is tried again that this process cannot carry out now.
const NOT_NOW: Duration = Duration::from_secs(1);
/// The first and the longest wait behind an attempt that failed.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Carries out jobs with the state of the service, which it does not keep alive.
pub(crate) struct JobWorker(Weak<State>);

impl JobWorker {
    pub(crate) fn new(state: &Arc<State>) -> Self {
        Self(Arc::downgrade(state))
    }
}

impl Worker for JobWorker {
    fn run<'a>(&'a self, job: &'a Leased) -> Work<'a, Outcome> {
        Box::pin(async move {
            let state = self.0.upgrade().filter(|state| !state.is_draining());
            match state {
                Some(state) => run(&Data::from(state), job).await,
                None => refused(NOT_NOW),
            }
        })
    }

    fn collect<'a>(&'a self, batch: &'a Collecting) -> Work<'a, Option<Vec<u8>>> {
        Box::pin(async move { batch::collect(&*self.0.upgrade()?, batch).await })
    }

    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> Work<'a, Delivered> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(state) => webhook::deliver(state.jobs.settings(), delivery).await,
                None => Delivered::Again(NOT_NOW),
            }
        })
    }
}

async fn run(state: &Data<State>, job: &Leased) -> Outcome {
    let arrival = match arrival(state, job) {
        Ok(arrival) => arrival,
        Err(Unmade::Never(error)) => return Outcome::Failed(failure(job, &error)),
        Err(Unmade::Now) => return refused(NOT_NOW),
    };
    let size_max = state.jobs.settings().result_size_max.as_usize();
    // On the heap, because it holds the futures of all stages.
    let answered = Box::pin(stages::answer(state, arrival, size_max)).await;
    outcome(job, answered)
}

/// Why a call cannot be made.
enum Unmade {
    /// It never can.
    Never(ApiError),
    /// There is no memory for it now.
    Now,
}

/// Makes a call of a job.
fn arrival(state: &State, job: &Leased) -> Result<Arrival, Unmade> {
    let damaged = || ApiError::internal("the request of the job cannot be read");
    let request = JobRequest::of(job.request.clone()).ok_or_else(|| Unmade::Never(damaged()))?;
    let surface = surface::of_operation(&request.head.url);
    let unknown = || ApiError::not_found("no operation has this URL");
    let surface = surface.ok_or_else(|| Unmade::Never(unknown()))?;
    let caller = state.callers.of_id(&request.head.key);
    // The key may have been given to another tenant, or revoked.
    let caller = caller.filter(|caller| caller.owner == job.owner);
    let caller = caller.ok_or_else(|| Unmade::Never(ApiError::unauthorized()))?;
    let settings = state.jobs.settings();
    let left = job.expires.saturating_sub(unix_time::millis());
    let time = settings.attempt_time_max.0;
    let time = time.min(Duration::from_millis(left.max(1)));
    // Live callers have precedence, as far as their keys allow.
    let priority = settings.priority.max(job.priority).max(caller.priority);
    let own = [
        ("x-kebne-deadline-ms", time.as_millis().to_string()),
        ("x-kebne-priority", priority.to_string()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let all = request.head.headers.into_iter().chain(own);
    let headers = all.filter_map(|(name, value)| {
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    });
    let headers: HeaderMap = headers.collect();
    let body = state.bodies.hold(request.body).map_err(|_| Unmade::Now)?;
    Ok(Arrival {
        surface,
        id: job.id.as_str().into(),
        head: Head::Job {
            maker: Maker::Job,
            headers,
            caller,
            function: None,
        },
        body: Body::Here(body),
    })
}

/// Returns the end of an attempt.
fn outcome(job: &Leased, answered: Answered) -> Outcome {
    let result = JobResult {
        head: ResultHead {
            status: answered.status.as_u16(),
            content_type: answered.content_type,
        },
        body: answered.body,
    };
    let result = result.to_bytes();
    match answered.ending {
        Meaning::Answer => Outcome::Succeeded(result),
        Meaning::Final => Outcome::Failed(result),
        Meaning::Refused(after) => Outcome::Again {
            after,
            counts: false,
            result,
        },
        Meaning::Failed => Outcome::Again {
            after: backoff(job.attempt),
            counts: true,
            result,
        },
    }
}

fn refused(after: Duration) -> Outcome {
    Outcome::Again {
        after,
        counts: false,
        result: Vec::new(),
    }
}

/// Returns the wait behind a failed attempt.
fn backoff(attempt: u32) -> Duration {
    let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
    BACKOFF.0.saturating_mul(factor).min(BACKOFF.1)
}

/// Returns the result of a job whose call is not made.
fn failure(job: &Leased, error: &ApiError) -> Vec<u8> {
    use crate::surface::Surface as _;
    let status: StatusCode = error.status();
    let result = JobResult {
        head: ResultHead {
            status: status.as_u16(),
            content_type: "application/json".to_owned(),
        },
        body: openai::CHAT.error_body(error, &job.id),
    };
    result.to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_between_attempts_grow_up_to_a_minute() {
        let waits: Vec<u64> = (1..=8).map(|attempt| backoff(attempt).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
