//! `GET /events`: the events as they happen, as server-sent events.
//!
//! A key that may read the state sees all events, any other key those of its own tenant. A follower that reads slowly holds one part of its answer; what
//! it has missed meanwhile is said.

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpResponse,
    http::{Method, header},
    web::Bytes,
};
use futures_util::{Stream, stream};
use kebne_event_bus::{Followed, Follower, Message};
use kebne_events::{EventType, TYPES, token};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{http::visit::Visit, settings::server::Scope, surface::error::ApiError};

/// The time after which a comment is sent, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Asks readers to connect again after a second.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Types, separated by commas.
    #[serde(rename = "type")]
    kinds: Option<String>,
    session: Option<String>,
    tenant: Option<String>,
    after: Option<String>,
}

/// What a follower may and wants to see.
struct Selection {
    /// The type of each event with the beginning of its topics.
    kinds: Vec<(String, &'static str)>,
    /// The part of topics that names the tenant; `None` for all.
    tenant: Option<String>,
    /// The part of topics that names the session; `None` for all.
    session: Option<String>,
}

/// A follower's place.
struct Watcher {
    is_new: bool,
    follower: Follower,
    selection: Selection,
    closed: CancellationToken,
}

/// Answers with the events until the follower leaves or the service stops.
pub(super) async fn follow(visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted: Wanted = visit.query()?;
    if !visit.state.events.are_enabled() {
        return Err(ApiError::not_found(
            "no events are emitted (`events.enabled`)",
        ));
    }
    let selection = Selection::new(&visit, &wanted)?;
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"));
    if visit.method() == Method::HEAD {
        return Ok(response.finish());
    }
    let last = visit.headers().get("last-event-id");
    let last = last.and_then(|id| id.to_str().ok());
    let watcher = Watcher {
        is_new: true,
        follower: visit.state.events.follow(last.or(wanted.after.as_deref())),
        selection,
        closed: visit.state.live.closed().clone(),
    };
    Ok(response.streaming(events(watcher)))
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(watcher, async |mut watcher| {
        if std::mem::take(&mut watcher.is_new) {
            return Some((Ok(Bytes::from_static(RETRY)), watcher));
        }
        let silence = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(silence);
        loop {
            let next = tokio::select! {
                biased;
                () = watcher.closed.cancelled() => return None,
                next = watcher.follower.next() => next?,
                () = &mut silence => return Some((Ok(Bytes::from_static(b": \n\n")), watcher)),
            };
            if let Some(part) = watcher.selection.part(&next) {
                return Some((Ok(part), watcher));
            }
        }
    })
}

impl Selection {
    fn new(visit: &Visit, wanted: &Wanted) -> Result<Self, ApiError> {
        let caller = &visit.caller;
        let sees_all = caller.require(Scope::ReadState).is_ok();
        let tenant = match &wanted.tenant {
            Some(tenant) if sees_all || *tenant == caller.owner => Some(tenant),
            Some(_) => return Err(ApiError::insufficient_scope(Scope::ReadState.name())),
            None if sees_all => None,
            None => Some(&caller.owner),
        };
        Ok(Self {
            kinds: kinds(wanted.kinds.as_deref())?,
            tenant: tenant.map(|tenant| token(tenant)),
            session: wanted.session.as_deref().map(token),
        })
    }

    /// Returns what the follower gets; `None` if it does not see the event.
    fn part(&self, followed: &Followed) -> Option<Bytes> {
        let message = match followed {
            Followed::Message(message) => message,
            Followed::Missed(count) => {
                let missed = format!("event: missed\ndata: {{\"missed\":{count}}}\n\n");
                return Some(missed.into());
            }
        };
        let kind = self.kind(&message.topic)?;
        Some(event(message, kind))
    }

    /// Returns the type of the events of a topic, if the follower sees it.
    fn kind(&self, topic: &str) -> Option<&str> {
        let found = self.kinds.iter().find_map(|(name, kind)| {
            let rest = topic.strip_prefix(kind)?.strip_prefix('.')?;
            Some((name, rest))
        });
        let (kind, rest) = found?;
        let (tenant, session) = rest.split_once('.')?;
        let sees = |wanted: &Option<String>, part: &str, is_within: bool| {
            wanted.as_ref().is_none_or(|wanted| {
                let rest = part.strip_prefix(wanted.as_str());
                // A caller sees the events of the tenants that it names below its own.
                rest.is_some_and(|rest| rest.is_empty() || is_within && rest.starts_with("%2F"))
            })
        };
        let seen = sees(&self.tenant, tenant, true) && sees(&self.session, session, false);
        seen.then_some(kind)
    }
}

/// Returns the types that a query names: by their full names, such as `kebne.call.ended.v1`, or without prefix and version.
fn kinds(wanted: Option<&str>) -> Result<Vec<(String, &'static str)>, ApiError> {
    let all = || TYPES.iter().map(|known| (known.name(), known.kind()));
    let Some(wanted) = wanted else {
        return Ok(all().collect());
    };
    let mut kinds = Vec::new();
    for name in wanted.split(',').map(str::trim) {
        let found = all().find(|(full, kind)| full == name || *kind == name);
        let unknown = || {
            let names: Vec<_> = TYPES.iter().map(EventType::kind).collect();
            let message = format!("`type` must be one of: {}", names.join(", "));
            ApiError::bad_request(Some("type"), message)
        };
        kinds.push(found.ok_or_else(unknown)?);
    }
    Ok(kinds)
}

fn event(message: &Message, kind: &str) -> Bytes {
    let mut text = format!("id: {}\nevent: {kind}\ndata: ", message.id).into_bytes();
    text.extend_from_slice(&message.payload);
    text.extend_from_slice(b"\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(tenant: Option<&str>, session: Option<&str>) -> Selection {
        Selection {
            kinds: kinds(Some("call.ended,kebne.session.changed.v1")).unwrap(),
            tenant: tenant.map(token),
            session: session.map(token),
        }
    }

    #[test]
    fn a_tenant_sees_its_own_events_and_those_of_tenants_that_it_names() {
        for (tenant, topic, sees) in [
            (None, "call.ended.ann.-", true),
            (None, "call.cost.ann.-", false),
            (Some("ann"), "call.ended.ann.-", true),
            (Some("ann"), "call.ended.ann%2Fbob.s", true),
            (Some("ann"), "call.ended.anna.-", false),
            (Some("ann"), "call.ended.-.-", false),
            (Some("a.b"), "session.changed.a%2Eb.s", true),
        ] {
            let kind = selection(tenant, None);
            assert_eq!(kind.kind(topic).is_some(), sees, "{tenant:?} {topic}");
        }
        let of_session = selection(Some("ann"), Some("s"));
        assert_eq!(
            of_session.kind("call.ended.ann.s"),
            Some("kebne.call.ended.v1")
        );
        assert_eq!(of_session.kind("call.ended.ann.s%2F"), None);
        assert!(kinds(Some("call.begun")).is_err());
    }
}
