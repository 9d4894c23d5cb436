//! `GET /v1/jobs/{id}/events`: the progress of a job as server-sent events, until its end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::{Bytes, Data},
};
use futures_util::{Stream, stream};
use kebne_jobs::{Job, JobQueue as _};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use crate::{http::visit::Visit, jobs::shown_in_list, state::State, surface::error::ApiError};

/// The longest time between two looks at a job: another process may carry it out. A comment is sent then, which keeps the connection alive.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A watcher's place.
struct Watcher {
    state: Data<State>,
    owner: String,
    id: String,
    changes: Receiver<Arc<str>>,
    /// What was sent last.
    last: Option<Job>,
}

/// Answers with an event for each change of a job, the present state first.
pub(in crate::http) async fn follow(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (owner, id) = (visit.owner().to_owned(), visit.parameter());
    let changes = visit.state.jobs.changes();
    visit.state.jobs.job(&owner, &id).await?;
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"));
    // The body of an answer to HEAD would be read to its end.
    if visit.method() == Method::HEAD {
        return Ok(response.finish());
    }
    let watcher = Watcher {
        state: Data::clone(&visit.state),
        owner,
        id,
        changes,
        last: None,
    };
    Ok(response.streaming(events(watcher)))
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(watcher, async |mut watcher| {
        if watcher
            .last
            .as_ref()
            .is_some_and(|job| job.state.is_final())
        {
            return None;
        }
        if watcher.last.is_some() {
            watcher.changed().await?;
        }
        let jobs = &watcher.state.jobs;
        // A job that is gone ends the events.
        let job = jobs.job(&watcher.owner, &watcher.id).await.ok()?;
        let event = format!("event: job\ndata: {}\n\n", shown_in_list(&job));
        let is_same = watcher.last.as_ref() == Some(&job);
        watcher.last = Some(job);
        let event = if is_same {
            ": waiting\n\n".to_owned()
        } else {
            event
        };
        Some((Ok(Bytes::from(event)), watcher))
    })
}

impl Watcher {
    /// Waits for a change of the job, or until it is to be looked at anyway; returns `None` when the service stops.
    async fn changed(&mut self) -> Option<()> {
        let own = async {
            loop {
                match self.changes.recv().await {
                    Ok(id) if *id == *self.id || id.is_empty() => return,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return,
                }
            }
        };
        tokio::select! {
            biased;
            () = self.state.closing.cancelled() => None,
            _ = timeout(LOOK_EVERY, own) => Some(()),
        }
    }
}
