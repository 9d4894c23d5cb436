//! Management of sessions by their owner.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web::Data};
use kebne_context::{
    Change,
    store::{Details, Part, Session, Turn},
};
use kebne_events::SessionChange;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json, value::RawValue};

pub(super) mod export;
pub(super) mod import;
mod lines;
pub(super) mod notes;

use crate::{
    http::{json_body, kept::Room, list_query, visit::Visit},
    state::State,
    surface::error::ApiError,
};

/// The number of entries of metadata, and the longest name and value of one, as for `OpenAI`'s metadata.
const METADATA_MAX: (usize, usize, usize) = (16, 64, 512);
/// The largest and the default number of items in one answer.
const PAGE: (usize, usize) = (100, 20);
/// The number of JSON bytes above which an answer is not written on the thread that serves connections. This many take
/// less than a millisecond.
const INLINE_MAX: usize = 64 << 10;
/// The largest number of bytes of metadata as JSON, in any escaping, including the rest of a change except its text.
const CHANGE_MAX: usize = 128 << 10;
/// The number of random bytes of a session's id, so that it cannot be guessed.
const ID_SIZE: usize = 16;

/// The requested part of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// Read as text, so that an error names the key.
    limit: Option<String>,
    after: Option<String>,
}

/// `POST /v1/sessions`.
pub(super) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted = read_change(&mut visit).await?;
    let id = new_id()?;
    let details = Details {
        metadata: wanted.metadata.unwrap_or_default(),
        system_prompt: wanted.system_prompt.flatten(),
        prompt: wanted.prompt.flatten(),
        ..Details::default()
    };
    let context = &visit.state.context;
    let session = context.create(visit.owner(), id, details).await?;
    let events = &visit.state.events;
    events.session_changed(visit.owner(), &session.id, (SessionChange::Created, None));
    Ok(HttpResponse::Ok().json(shown(&session, &visit.state)))
}

/// Returns an id for a session that cannot be guessed.
fn new_id() -> Result<String, ApiError> {
    let mut id = [0; ID_SIZE];
    getrandom::fill(&mut id).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(format!("sess_{}", hex::encode(id)))
}

/// `GET /v1/sessions`.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (limit, after) = part_of(visit.query()?)?;
    let room = room_of_page(&visit).await?;
    let context = &visit.state.context;
    let part = context.list(visit.owner(), after, limit).await;
    let part = part.map_err(list_query::error)?;
    let next = part.items.last().map(|session| session.id.clone());
    let size = part.items.iter().map(size_of).sum();
    let state = Data::clone(&visit.state);
    let write = move || write_page(&part, next, |session| Ok(shown(session, &state)));
    Ok(room.answer(beside_if_large(size, write).await?))
}

/// `GET /v1/sessions/{id}`.
pub(super) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let context = &visit.state.context;
    let session = context.read(visit.owner(), &visit.parameter()).await?;
    Ok(HttpResponse::Ok().json(shown(&session, &visit.state)))
}

/// `POST /v1/sessions/{id}`: sets the given fields.
pub(super) async fn change(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    // Checked before the body is read, which may be large.
    visit.state.context.read(visit.owner(), &id).await?;
    let wanted = read_change(&mut visit).await?;
    let context = &visit.state.context;
    let session = context.change(visit.owner(), &id, wanted).await?;
    let events = &visit.state.events;
    events.session_changed(visit.owner(), &id, (SessionChange::Changed, None));
    Ok(HttpResponse::Ok().json(shown(&session, &visit.state)))
}

/// `DELETE /v1/sessions/{id}`.
pub(super) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    visit.state.context.remove(visit.owner(), &id).await?;
    visit.state.recall.forget(&id);
    let events = &visit.state.events;
    events.session_changed(visit.owner(), &id, (SessionChange::Removed, None));
    let gone = json!({"id": id, "object": "session.deleted", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

/// `GET /v1/sessions/{id}/turns`: in order. `after` is the number of a turn.
pub(super) async fn turns(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (limit, after) = part_of(visit.query()?)?;
    let after = after.map_or(Ok(0), |text| {
        let wrong = || ApiError::bad_request(Some("after"), "`after` must be a turn's number");
        text.parse().map_err(|_| wrong())
    })?;
    let room = room_of_page(&visit).await?;
    let (context, id) = (&visit.state.context, visit.parameter());
    let part = context.turns(visit.owner(), &id, after, limit).await?;
    let next = part.items.last().map(|turn| turn.number);
    let sizes = part.items.iter().map(|turn| turn.content.messages.len());
    let size = sizes.sum();
    let write = move || write_page(&part, next, ShownTurn::of);
    Ok(room.answer(beside_if_large(size, write).await?))
}

fn part_of(part: PageQuery) -> Result<(usize, Option<String>), ApiError> {
    let PageQuery { limit, after } = part;
    let (max, default) = PAGE;
    Ok((list_query::limit(limit, max, default)?, after))
}

/// A page of a list. `next_after` is where the next page begins; it is absent on the last page.
#[derive(Serialize)]
struct ShownPage<T, N> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
    next_after: Option<N>,
}

fn write_page<'a, I, T: Serialize>(
    part: &'a Part<I>,
    last: Option<impl Serialize>,
    show: impl Fn(&'a I) -> Result<T, ApiError>,
) -> Result<Vec<u8>, ApiError> {
    let data: Result<Vec<T>, ApiError> = part.items.iter().map(show).collect();
    let page = ShownPage {
        object: "list",
        data: data?,
        has_more: part.has_more,
        next_after: last.filter(|_| part.has_more),
    };
    serde_json::to_vec(&page).map_err(|error| ApiError::internal(error.to_string()))
}

async fn room_of_page(visit: &Visit) -> Result<Room, ApiError> {
    let settings = &visit.state.context_settings;
    let (size_max, wait) = (settings.page_bytes_max.0, settings.answer_timeout.0);
    Room::of(visit.state.gateway.answers(), size_max, wait).await
}

/// Does work on `size` bytes; if they are many, beside the thread that serves connections.
async fn beside_if_large<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= INLINE_MAX {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ApiError::internal("an answer could not be written")))
}

/// Returns the approximate number of bytes of a session in an answer.
fn size_of(session: &Session) -> usize {
    let metadata = session.details.metadata.iter();
    let metadata = metadata.map(|(name, value)| name.len() + value.len());
    let system_prompt = session.details.system_prompt.as_ref();
    metadata.sum::<usize>() + system_prompt.map_or(0, String::len)
}

fn shown(session: &Session, state: &State) -> Value {
    let settings = &state.context_settings;
    let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let idle_end = session.used.saturating_add(millis(settings.idle_expiry.0));
    let age_end = session.created.saturating_add(millis(settings.age_max.0));
    json!({
        "id": session.id,
        "object": "session",
        "created_at": session.created / 1000,
        "last_used_at": session.used / 1000,
        "expires_at": idle_end.min(age_end) / 1000,
        "turns": session.turns,
        "tokens": session.tokens,
        "metadata": session.details.metadata,
        "system_prompt": session.details.system_prompt,
        "prompt": session.details.prompt,
    })
}

/// A turn in an answer. Its messages are passed on as they are stored.
#[derive(Serialize)]
struct ShownTurn<'a> {
    object: &'static str,
    number: u64,
    tokens: u64,
    messages: &'a RawValue,
}

impl<'a> ShownTurn<'a> {
    fn of(turn: &'a Turn) -> Result<Self, ApiError> {
        let messages = serde_json::from_slice(&turn.content.messages)
            .map_err(|_| ApiError::internal("a turn that was kept cannot be read"))?;
        Ok(Self {
            object: "session.turn",
            number: turn.number,
            tokens: turn.content.tokens,
            messages,
        })
    }
}

/// The fields of a session that can be set, not parsed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeFields<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    system_prompt: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    prompt: Option<&'a RawValue>,
}

/// Reads a field that is present. `null` removes the present value.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(field: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(field).map(Some)
}

/// Reads the fields to set; an empty body sets none.
async fn read_change(visit: &mut Visit) -> Result<Change, ApiError> {
    let size_max = visit.state.context_settings.turn_size_max.as_usize();
    // A letter may be written with six bytes, as in `\u0041`.
    let body_max = size_max.saturating_mul(6).saturating_add(CHANGE_MAX);
    let body = visit.body_of_at_most(body_max).await?;
    let (size, state) = (body.len(), Data::clone(&visit.state));
    let change = move || change_of(&body, &state);
    visit.state.off_loop.read(size, change).await?
}

fn change_of(body: &[u8], state: &State) -> Result<Change, ApiError> {
    let size_max = state.context_settings.turn_size_max.as_usize();
    let mut change = Change::default();
    if body.is_empty() {
        return Ok(change);
    }
    let fields: ChangeFields<'_> = json_body::object(body)?;
    change.metadata = fields.metadata.map(metadata).transpose()?;
    let text = |key, raw| text_or_null(key, raw, size_max);
    let system_prompt = fields.system_prompt;
    change.system_prompt = system_prompt
        .map(|raw| text("system_prompt", raw))
        .transpose()?;
    change.prompt = fields.prompt.map(|raw| text("prompt", raw)).transpose()?;
    let named = change.prompt.iter().flatten();
    let prompts = state.prompts.get();
    if let Some(unknown) = named.into_iter().find(|name| !prompts.has(name)) {
        let message = format!("there is no prompt `{unknown}`");
        return Err(ApiError::bad_request(Some("prompt"), message));
    }
    Ok(change)
}

fn text_or_null(key: &str, raw: &RawValue, size_max: usize) -> Result<Option<String>, ApiError> {
    let text: Option<Option<String>> = serde_json::from_str(raw.get()).ok();
    text.filter(|text| text.as_ref().is_none_or(|text| text.len() <= size_max))
        .ok_or_else(|| {
            let message = format!("`{key}` must be a text of at most {size_max} bytes, or null");
            ApiError::bad_request(Some(key), message)
        })
}

fn metadata(raw: &RawValue) -> Result<BTreeMap<String, String>, ApiError> {
    let (entries_max, name_max, value_max) = METADATA_MAX;
    let wrong = || {
        let message = format!(
            "`metadata` must be an object of at most {entries_max} texts, names of at most {name_max} and \
            values of at most {value_max} characters"
        );
        ApiError::bad_request(Some("metadata"), message)
    };
    if raw.get().len() > CHANGE_MAX {
        return Err(wrong());
    }
    let entries: Option<BTreeMap<String, String>> =
        serde_json::from_str(raw.get()).map_err(|_| wrong())?;
    let entries = entries.unwrap_or_default();
    let fits = |(name, value): (&String, &String)| {
        name.chars().count() <= name_max && value.chars().count() <= value_max
    };
    if entries.len() > entries_max || !entries.iter().all(fits) {
        return Err(wrong());
    }
    Ok(entries)
}
