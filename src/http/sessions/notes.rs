//! Summaries and facts of a session, the search in its turns, and its branches.

use actix_web::HttpResponse;
use kebne_context::{
    Fact, FactContent, Summary,
    store::{Part, Session, Turn},
};
use kebne_events::SessionChange;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{ShownTurn, beside_if_large, new_id, part_of, room_of_page, shown, write_page};
use crate::{
    http::{json_body, visit::Visit},
    recall::Search,
    surface::error::ApiError,
};

/// The largest body of a request.
const BODY_MAX: usize = 128 << 10;
/// The longest question, in bytes.
const QUERY_MAX: usize = 32 << 10;
/// The largest and the default number of turns that a search finds.
const FOUND: (usize, usize) = (50, 10);

/// The text of a fact.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactBody {
    text: String,
}

/// A question to a session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    query: String,
    limit: Option<usize>,
}

/// The turn at which a session is forked, or to which it is rewound.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BranchBody {
    turn: Option<u64>,
}

/// A turn that a search found.
#[derive(Serialize)]
struct FoundTurn<'a> {
    score: f64,
    #[serde(flatten)]
    turn: ShownTurn<'a>,
}

/// `GET /v1/sessions/{id}/facts`.
pub(in crate::http) async fn facts(visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted = numbered_part(&visit, "fact")?;
    let room = room_of_page(&visit).await?;
    let context = &visit.state.context;
    let facts = context.facts(visit.owner(), &id(&visit)).await?;
    let facts = part_of_all(facts, |fact| fact.number, wanted);
    let size = facts.items.iter().map(|fact| fact.content.text.len()).sum();
    let next = facts.items.last().map(|fact| fact.number);
    let write = move || write_page(&facts, next, |fact| Ok(shown_fact(fact)));
    Ok(room.answer(beside_if_large(size, write).await?))
}

/// `POST /v1/sessions/{id}/facts`: adds one.
pub(in crate::http) async fn add_fact(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let (id, content) = (id(&visit), fact_of_body(&mut visit).await?);
    let facts_max = visit.state.context_settings.memory.facts_max;
    let context = &visit.state.context;
    let added = context.add_fact(visit.owner(), &id, content, facts_max);
    Ok(HttpResponse::Ok().json(shown_fact(&added.await?)))
}

/// `GET /v1/sessions/{id}/facts/{fact}`.
pub(in crate::http) async fn fact(visit: Visit) -> Result<HttpResponse, ApiError> {
    let fact = find_fact(&visit).await?;
    Ok(HttpResponse::Ok().json(shown_fact(&fact)))
}

/// `POST /v1/sessions/{id}/facts/{fact}`: corrects it. It is the owner's from then on.
pub(in crate::http) async fn set_fact(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let before = find_fact(&visit).await?;
    let mut content = fact_of_body(&mut visit).await?;
    content.created = before.content.created;
    content.turns = before.content.turns;
    let fact = Fact {
        number: before.number,
        is_owners: true,
        content,
    };
    let context = &visit.state.context;
    if !context.set_fact(visit.owner(), &id(&visit), &fact).await? {
        return Err(no_such_fact());
    }
    Ok(HttpResponse::Ok().json(shown_fact(&fact)))
}

/// `DELETE /v1/sessions/{id}/facts/{fact}`.
pub(in crate::http) async fn remove_fact(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (number, id) = (number_of_fact(&visit)?, id(&visit));
    let context = &visit.state.context;
    let removed = context.remove_fact(visit.owner(), &id, number);
    if !removed.await? {
        return Err(no_such_fact());
    }
    let gone = json!({"id": number, "object": "session.fact.deleted", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

/// `GET /v1/sessions/{id}/summaries`: the oldest first.
pub(in crate::http) async fn summaries(visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted = numbered_part(&visit, "summary")?;
    let room = room_of_page(&visit).await?;
    let context = &visit.state.context;
    let summaries = context.summaries(visit.owner(), &id(&visit)).await?;
    let summaries = part_of_all(summaries, |summary| summary.through, wanted);
    let texts = summaries.items.iter();
    let size = texts.map(|summary| summary.content.text.len()).sum();
    let next = summaries.items.last().map(|summary| summary.through);
    let write = move || write_page(&summaries, next, |summary| Ok(shown_summary(summary)));
    Ok(room.answer(beside_if_large(size, write).await?))
}

/// `DELETE /v1/sessions/{id}/summaries`.
pub(in crate::http) async fn remove_summaries(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (context, id) = (&visit.state.context, id(&visit));
    context.remove_summaries(visit.owner(), &id).await?;
    let gone = json!({"id": id, "object": "session.summaries.deleted", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

/// `POST /v1/sessions/{id}/search`.
pub(in crate::http) async fn search(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let session = session_of(&visit).await?;
    let body: SearchBody = body_of(&mut visit).await?;
    let limit = body.limit.unwrap_or(FOUND.1);
    if !(1..=FOUND.0).contains(&limit) {
        let message = format!("`limit` must be a whole number from 1 to {}", FOUND.0);
        return Err(ApiError::bad_request(Some("limit"), message));
    }
    if body.query.trim().is_empty() || body.query.len() > QUERY_MAX {
        let message = format!("`query` must be a text of 1 to {QUERY_MAX} bytes");
        return Err(ApiError::bad_request(Some("query"), message));
    }
    let search = Search {
        query: body.query,
        limit,
        before: u64::MAX,
        waits: true,
    };
    let state = &visit.state;
    let embedder = state.gateway.embedder_for(&visit.behalf());
    let hits = state.recall.search(&session, search, &embedder).await?;
    let room = room_of_page(&visit).await?;
    let mut left = state.context_settings.page_bytes_max.as_usize();
    let mut found = Vec::with_capacity(hits.len());
    for hit in hits {
        let after = hit.turn.saturating_sub(1);
        let part = state.context.turns(&session.owner, &session.id, after, 1);
        let part: Part<Turn> = part.await?;
        let turns = part
            .items
            .into_iter()
            .filter(|turn| turn.number == hit.turn);
        for turn in turns {
            let size = turn.content.messages.len();
            if size <= left || found.is_empty() {
                left = left.saturating_sub(size);
                found.push((hit.score, turn));
            }
        }
    }
    let sizes = found.iter().map(|(_, turn)| turn.content.messages.len());
    let size = sizes.sum();
    let write = move || {
        let shown = found.iter().map(|(score, turn)| {
            let score = (f64::from(*score) * 1e6).round() / 1e6;
            let turn = ShownTurn::of(turn)?;
            Ok(FoundTurn { score, turn })
        });
        let data: Vec<FoundTurn<'_>> = shown.collect::<Result<_, ApiError>>()?;
        written(&json_list(&data))
    };
    Ok(room.answer(beside_if_large(size, write).await?))
}

/// `POST /v1/sessions/{id}/fork`: a new session with the turns up to one.
pub(in crate::http) async fn fork(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let session = session_of(&visit).await?;
    let body: BranchBody = body_of(&mut visit).await?;
    let through = body.turn.unwrap_or(session.turns);
    require_turn(&session, through)?;
    let (context, new) = (&visit.state.context, new_id()?);
    let forked = context.fork(visit.owner(), &session.id, &new, through);
    let forked = forked.await?;
    let events = &visit.state.events;
    events.session_changed(visit.owner(), &new, (SessionChange::Forked, Some(through)));
    Ok(HttpResponse::Ok().json(shown(&forked, &visit.state)))
}

/// `POST /v1/sessions/{id}/rewind`: removes the turns after one.
pub(in crate::http) async fn rewind(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let session = session_of(&visit).await?;
    let body: BranchBody = body_of(&mut visit).await?;
    let Some(to) = body.turn else {
        let message = "`turn` must be the number of the last turn that stays, or 0";
        return Err(ApiError::bad_request(Some("turn"), message));
    };
    require_turn(&session, to)?;
    visit.state.recall.forget(&session.id);
    let context = &visit.state.context;
    let session = context.rewind(visit.owner(), &session.id, to).await?;
    let events = &visit.state.events;
    events.session_changed(
        visit.owner(),
        &session.id,
        (SessionChange::Rewound, Some(to)),
    );
    Ok(HttpResponse::Ok().json(shown(&session, &visit.state)))
}

fn require_turn(session: &Session, turn: u64) -> Result<(), ApiError> {
    if turn <= session.turns {
        return Ok(());
    }
    let message = format!("`turn` must be at most {}, the newest turn", session.turns);
    Err(ApiError::bad_request(Some("turn"), message))
}

fn id(visit: &Visit) -> String {
    visit.named_parameter("id")
}

async fn session_of(visit: &Visit) -> Result<Session, ApiError> {
    let context = &visit.state.context;
    Ok(context.read(visit.owner(), &id(visit)).await?)
}

fn number_of_fact(visit: &Visit) -> Result<u64, ApiError> {
    let number = visit.named_parameter("fact").parse();
    number.map_err(|_| no_such_fact())
}

async fn find_fact(visit: &Visit) -> Result<Fact, ApiError> {
    let number = number_of_fact(visit)?;
    let context = &visit.state.context;
    let facts = context.facts(visit.owner(), &id(visit)).await?;
    let found = facts.into_iter().find(|fact| fact.number == number);
    found.ok_or_else(no_such_fact)
}

fn no_such_fact() -> ApiError {
    ApiError::not_found("the session has no such fact")
}

/// Reads the text of a fact; it rests on no turn.
async fn fact_of_body(visit: &mut Visit) -> Result<FactContent, ApiError> {
    let FactBody { text } = body_of(visit).await?;
    let settings = &visit.state.context_settings;
    let size_max = settings.memory.fact_size_max.as_usize();
    let text = text.trim().to_owned();
    if text.is_empty() || text.len() > size_max {
        let message = format!("`text` must be a text of 1 to {size_max} bytes");
        return Err(ApiError::bad_request(Some("text"), message));
    }
    let tokenizer = settings.tokenizer;
    let counted = move || (tokenizer.count(&text), text);
    let (tokens, text) = visit.state.off_loop.run(counted).await?;
    let now = visit.state.context.now();
    Ok(FactContent {
        text,
        tokens,
        turns: Vec::new(),
        created: now,
        changed: now,
    })
}

/// Reads the JSON object in a body; an empty body is an empty object.
async fn body_of<T: DeserializeOwned>(visit: &mut Visit) -> Result<T, ApiError> {
    let body = visit.body_of_at_most(BODY_MAX).await?;
    json_body::object(&body)
}

fn shown_fact(fact: &Fact) -> Value {
    let Fact {
        number,
        is_owners,
        content,
    } = fact;
    json!({
        "id": number,
        "object": "session.fact",
        "text": content.text,
        "by": if *is_owners { "owner" } else { "model" },
        "turns": content.turns,
        "created_at": content.created / 1000,
        "changed_at": content.changed / 1000,
    })
}

fn shown_summary(summary: &Summary) -> Value {
    let Summary { through, content } = summary;
    json!({
        "object": "session.summary",
        "through": through,
        "text": content.text,
        "tokens": content.tokens,
        "created_at": content.created / 1000,
    })
}

/// Returns `limit` and `after` of a list whose items have numbers.
fn numbered_part(visit: &Visit, of: &str) -> Result<(usize, u64), ApiError> {
    let (limit, after) = part_of(visit.query()?)?;
    let after = after.map_or(Ok(0), |text| text.parse());
    let after = after.map_err(|_| {
        let message = format!("`after` must be the number of a {of}");
        ApiError::bad_request(Some("after"), message)
    })?;
    Ok((limit, after))
}

/// Returns a part of items that are in the order of their numbers.
fn part_of_all<T>(
    mut all: Vec<T>,
    number: impl Fn(&T) -> u64,
    (limit, after): (usize, u64),
) -> Part<T> {
    all.retain(|item| number(item) > after);
    let has_more = all.len() > limit;
    all.truncate(limit);
    Part {
        items: all,
        has_more,
    }
}

#[derive(Serialize)]
struct JsonList<'a, T> {
    object: &'static str,
    data: &'a [T],
    has_more: bool,
}

fn json_list<T: Serialize>(data: &[T]) -> JsonList<'_, T> {
    JsonList {
        object: "list",
        data,
        has_more: false,
    }
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(value).map_err(|error| ApiError::internal(error.to_string()))
}
