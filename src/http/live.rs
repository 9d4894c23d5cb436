//! `GET /live`: the live view as server-sent events. The first event is the history, then one sample per second follows.
//!
//! A watcher that reads slowly is not polled while its connection is full, and then gets the newest sample: it holds one
//! part of the answer, however slow it is.

use std::{convert::Infallible, sync::Arc};

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::Bytes,
};
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{http::visit::Visit, live::Moment, surface::error::ApiError};

/// Asks browsers to connect again after a second, and proxies to pass the events on at once.
const RETRY: &[u8] = b"retry: 1000\n";

/// A watcher's place in the view.
struct Watcher {
    /// The history, until it is sent.
    past: Option<Bytes>,
    samples: watch::Receiver<Option<Arc<Moment>>>,
    closed: CancellationToken,
}

/// Answers with the events until the watcher leaves or the service stops.
pub(super) async fn follow(visit: Visit) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"));
    // The body of an answer to HEAD would be read to its end, and this one has none.
    if visit.method() == Method::HEAD {
        return Ok(response.finish());
    }
    let (past, mut samples) = visit.state.live.follow();
    // The newest sample follows the history at once.
    samples.mark_changed();
    let watcher = Watcher {
        past: Some(past),
        samples,
        closed: visit.state.live.closed().clone(),
    };
    Ok(response.streaming(events(watcher)))
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(watcher, async |mut watcher| {
        if let Some(past) = watcher.past.take() {
            let first = Bytes::from([RETRY, &past].concat());
            return Some((Ok(first), watcher));
        }
        loop {
            tokio::select! {
                biased;
                () = watcher.closed.cancelled() => return None,
                changed = watcher.samples.changed() => changed.ok()?,
            }
            let moment = watcher.samples.borrow_and_update().clone();
            if let Some(moment) = moment {
                return Some((Ok(moment.event()), watcher));
            }
        }
    })
}
