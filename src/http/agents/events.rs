//! `GET /v1/agents/{name}/runs/{run}/events`: the steps of a run as server-sent events, until its end.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::{Bytes, Data},
};
use futures_util::{Stream, stream};
use kebne_agents::{Live, RunEvent};
use serde::Deserialize;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use crate::{
    agents::shown_event,
    http::{agents::runs::of_path, visit::Visit},
    state::State,
    surface::error::ApiError,
};

/// The longest time between two looks at a run: another process may carry it out. A comment is sent then, which keeps the connection alive.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    after: Option<u64>,
}

/// A watcher's place.
struct Watcher {
    state: Data<State>,
    owner: String,
    id: String,
    live: Receiver<Live>,
    /// The number of the last event that was sent.
    after: u64,
    /// What is to be sent.
    parts: VecDeque<String>,
    is_over: bool,
}

/// Answers with the events of a run behind the one that the caller has seen last.
pub(in crate::http) async fn follow(visit: Visit) -> Result<HttpResponse, ApiError> {
    let query: Query = visit.query()?;
    let run = of_path(&visit).await?;
    let last = visit.headers().get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok()?.parse().ok());
    let after = last.or(query.after).unwrap_or(0);
    Ok(stream(&visit, run.id.to_string(), after))
}

/// Returns the stream of the events of a run behind a number.
pub(super) fn stream(visit: &Visit, id: String, after: u64) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        .insert_header(("x-kebne-run", id.clone()));
    // The body of an answer to HEAD would be read to its end.
    if visit.method() == Method::HEAD {
        return response.finish();
    }
    let watcher = Watcher {
        live: visit.state.agents.follow(&id),
        state: Data::clone(&visit.state),
        owner: visit.owner().to_owned(),
        id,
        after,
        parts: VecDeque::new(),
        is_over: false,
    };
    response.streaming(events(watcher))
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((watcher, true), async |(mut watcher, is_first)| {
        let mut looks = is_first;
        loop {
            if looks {
                // A run that is gone ends the events.
                watcher.look().await?;
            }
            if let Some(part) = watcher.parts.pop_front() {
                return Some((Ok(Bytes::from(part)), (watcher, false)));
            }
            if watcher.is_over {
                return None;
            }
            looks = watcher.changed().await?;
        }
    })
}

impl Watcher {
    /// Reads the events behind the last one that was sent.
    async fn look(&mut self) -> Option<()> {
        let agents = &self.state.agents;
        let events = agents
            .events(&self.owner, &self.id, self.after)
            .await
            .ok()?;
        for event in &events {
            self.after = event.seq;
            let (kind, data) = (event.what.kind(), shown_event(event));
            let id = event.seq;
            self.parts
                .push_back(format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"));
            self.is_over |= matches!(event.what, RunEvent::Ended { .. });
        }
        if events.is_empty() && !self.is_over {
            let head = agents.head(&self.owner, &self.id).await.ok()?;
            // The caller has seen all.
            self.is_over = head.ended.is_some();
        }
        Some(())
    }

    /// Waits for something that happens in the run; returns `true` if its events are to be read, and `None` when the service stops.
    async fn changed(&mut self) -> Option<bool> {
        let next = async {
            match self.live.recv().await {
                Ok(Live::Text(text)) => Some(text),
                Ok(Live::Written(_)) | Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.state.closing.cancelled() => None,
            next = timeout(LOOK_EVERY, next) => match next {
                Ok(Some(text)) => {
                    let data = serde_json::json!({"text": &*text});
                    self.parts.push_back(format!("event: text\ndata: {data}\n\n"));
                    Some(false)
                }
                Ok(None) => Some(true),
                Err(_) => {
                    self.parts.push_back(": waiting\n\n".to_owned());
                    Some(true)
                }
            }
        }
    }
}
