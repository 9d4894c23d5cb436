//! The stores that keep something of callers.

use std::{collections::BTreeMap, sync::Arc};

use actix_web::{http::header::HeaderMap, web::Data};
use bytes::Bytes;
use kebne_answer_cache::Scope;
use kebne_context::erasure::{Held, Holdings};
use kebne_event_bus::FileError;
use kebne_wire::Direct;

use crate::{
    caller::Caller,
    objects::ObjectKind,
    privacy::{Answer, Erasable, Erased, Kept, Whose},
    stages::direct::{self, Sent},
    state::State,
    surface::error::ApiError,
};

/// The number of files of backends that are looked through at once.
const PAGE: usize = 100;

/// Who asks for an erasure, to call backends in the caller's place.
#[derive(Clone, Debug)]
pub struct Asker {
    /// What all requests share.
    pub state: Data<State>,
    /// The headers of the request.
    pub headers: HeaderMap,
    /// The caller.
    pub caller: Arc<Caller>,
    /// The id of the request.
    pub request_id: Arc<str>,
}

/// Returns all stores, in the order in which they erase. Each new store is listed here.
pub fn stores(asker: &Asker) -> Vec<Box<dyn Erasable>> {
    vec![
        // Before the sessions, where the ids of these files are kept.
        Box::new(BackendFiles(asker.clone())),
        Box::new(Sessions(asker.state.clone())),
        Box::new(Documents(asker.state.clone())),
        Box::new(QueuedCalls(asker.state.clone())),
        Box::new(Runs(asker.state.clone())),
        Box::new(PromptCalls(asker.state.clone())),
        Box::new(Answers(asker.state.clone())),
        Box::new(WaitingEvents(asker.state.clone())),
        Box::new(EventsForFunctions(asker.state.clone())),
    ]
}

/// Files and batches that backends hold.
struct BackendFiles(Asker);

/// Sessions, their turns, and kept responses.
struct Sessions(Data<State>);

/// Files and collections of documents.
struct Documents(Data<State>);

/// Jobs and batches: their requests, their results, and notices.
struct QueuedCalls(Data<State>);

/// Agents that a tenant has created, and runs of agents with all their texts.
struct Runs(Data<State>);

/// The versions of prompts that calls got, and the outcomes of calls.
struct PromptCalls(Data<State>);

/// Events that wait for the bus outside this process.
struct WaitingEvents(Data<State>);

/// Events that wait for functions, and those that could not be delivered.
struct EventsForFunctions(Data<State>);

/// Kept answers of models.
struct Answers(Data<State>);

/// The spaces of a tenant in the store of sessions, and what one entry and one turn in them are.
const SPACES: [(&str, &str, &str); 4] = [
    ("", "sessions", "turns"),
    ("responses", "conversations", "responses"),
    ("files", "backend_files", ""),
    ("batches", "backend_batches", ""),
];

fn kept(holdings: &Holdings, of: impl Fn(&str) -> bool) -> Kept {
    let mut kept = Kept {
        has_key: holdings.has_key,
        ..Kept::default()
    };
    for (space, held) in holdings.spaces.iter().filter(|(space, _)| of(space)) {
        let known = SPACES.iter().find(|(name, _, _)| name == space);
        let (_, entries, turns) = known.copied().unwrap_or(("", "others", "others"));
        *kept.items.entry(entries).or_default() += held.sessions;
        if !turns.is_empty() {
            *kept.items.entry(turns).or_default() += held.turns;
        }
        let Held { oldest, newest, .. } = *held;
        kept.bytes = kept.bytes.saturating_add(held.bytes);
        kept.oldest = kept.oldest.into_iter().chain(oldest.map(seconds)).min();
        kept.newest = kept.newest.into_iter().chain(newest.map(seconds)).max();
    }
    kept
}

fn seconds(millis: u64) -> u64 {
    millis / 1000
}

fn is_of_backends(space: &str) -> bool {
    ["files", "batches"].contains(&space)
}

impl Erasable for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn knows_users(&self) -> bool {
        true
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move {
            let held = self.0.context.held(whose).await?;
            Ok(kept(&held, |space| !is_of_backends(space)))
        })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let erased = self.0.context.erase(whose).await?;
            Ok(Erased {
                removed: kept(&erased.removed, |space| !is_of_backends(space)),
                key_erased: erased.key_erased,
                log_emptied: erased.log_emptied,
                out_of_reach: BTreeMap::new(),
            })
        })
    }
}

impl Erasable for BackendFiles {
    fn name(&self) -> &'static str {
        "backend_files"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move {
            let held = self.0.state.context.held(whose).await?;
            let mut kept = kept(&held, is_of_backends);
            // The key belongs to the store of sessions.
            kept.has_key = false;
            Ok(kept)
        })
    }

    /// Has backends delete the files, and forgets their ids. Batches cannot be deleted at a backend.
    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let mut erased = Erased {
                removed: self.count(whose).await?,
                log_emptied: true,
                ..Erased::default()
            };
            for kind in [ObjectKind::Batch, ObjectKind::File] {
                self.forget(&whose.tenant, kind, &mut erased).await?;
            }
            Ok(erased)
        })
    }
}

impl BackendFiles {
    async fn forget(
        &self,
        tenant: &str,
        kind: ObjectKind,
        erased: &mut Erased,
    ) -> Result<(), ApiError> {
        let objects = &self.0.state.objects;
        loop {
            let part = objects.list(tenant, kind, None, PAGE).await?;
            for object in &part.items {
                let is_deleted = kind == ObjectKind::File
                    && self.delete(&object.backend, &object.upstream).await;
                if !is_deleted {
                    let left = match kind {
                        ObjectKind::File => "backend_files",
                        ObjectKind::Batch => "backend_batches",
                    };
                    *erased.out_of_reach.entry(left).or_default() += 1;
                }
                objects.forget(tenant, kind, &object.id).await?;
            }
            if part.items.is_empty() || !part.has_more {
                return Ok(());
            }
        }
    }

    /// Has a backend delete a file; returns `true` if it did.
    async fn delete(&self, backend: &str, upstream: &str) -> bool {
        let Asker {
            state,
            headers,
            caller,
            request_id,
        } = &self.0;
        let sent = Sent {
            direct: Direct {
                method: http::Method::DELETE,
                path: Arc::from(format!("files/{upstream}")),
                is_content: false,
            },
            body: Bytes::new(),
            form: None,
            request_id: Arc::clone(request_id),
        };
        let called = direct::call(state, headers, caller, backend, sent).await;
        if let Err(error) = &called {
            let reason = error.reason();
            tracing::warn!(backend, reason, "a file was not deleted at its backend");
        }
        called.is_ok()
    }
}

impl Erasable for Documents {
    fn name(&self) -> &'static str {
        "collections"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move {
            let held = self.0.collections.held(&whose.tenant).await?;
            Ok(of_documents(&held))
        })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let erased = self.0.collections.erase(&whose.tenant).await?;
            Ok(Erased {
                removed: of_documents(&erased.removed),
                key_erased: erased.key_erased,
                log_emptied: erased.log_emptied,
                out_of_reach: BTreeMap::new(),
            })
        })
    }
}

impl Erasable for QueuedCalls {
    fn name(&self) -> &'static str {
        "jobs"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move { Ok(of_jobs(&self.0.jobs.held(&whose.tenant).await?)) })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let erased = self.0.jobs.erase(&whose.tenant).await?;
            Ok(Erased {
                removed: of_jobs(&erased.removed),
                key_erased: erased.key_erased,
                log_emptied: erased.log_emptied,
                out_of_reach: BTreeMap::new(),
            })
        })
    }
}

impl Erasable for Runs {
    fn name(&self) -> &'static str {
        "agents"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move { Ok(of_agents(&self.0.agents.held(&whose.tenant).await?)) })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let erased = self.0.agents.erase(&whose.tenant).await?;
            Ok(Erased {
                removed: of_agents(&erased.removed),
                key_erased: erased.key_erased,
                log_emptied: erased.log_emptied,
                out_of_reach: BTreeMap::new(),
            })
        })
    }
}

impl Erasable for PromptCalls {
    fn name(&self) -> &'static str {
        "prompts"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move {
            let held = self.0.gateway.prompts().held(&whose.tenant).await?;
            Ok(of_prompts(&held))
        })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let erased = self.0.gateway.prompts().erase(&whose.tenant).await?;
            Ok(Erased {
                removed: of_prompts(&erased.0),
                log_emptied: erased.1,
                ..Erased::default()
            })
        })
    }
}

impl Erasable for Answers {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move {
            let store = &self.0.cache.store;
            let counts = store.counts(Some(whose.tenant.clone())).await?;
            let answers: u64 = counts.iter().map(|count| count.entries).sum();
            Ok(of_answers(
                answers,
                counts.iter().map(|count| count.bytes).sum(),
            ))
        })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let scope = Scope {
                owner: Some(whose.tenant.clone()),
                model: None,
            };
            self.0.cache.erasing();
            let erased = self.0.cache.store.erase(scope).await?;
            Ok(Erased {
                removed: of_answers(erased.entries, erased.bytes),
                key_erased: erased.keys > 0,
                log_emptied: true,
                out_of_reach: BTreeMap::new(),
            })
        })
    }
}

impl Erasable for WaitingEvents {
    fn name(&self) -> &'static str {
        "events"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move {
            let waiting = self.0.events.waiting_of(&whose.tenant).await;
            Ok(of_events(waiting.map_err(|error| no_outbox(&error))?))
        })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let erased = self.0.events.erase(&whose.tenant).await;
            Ok(Erased {
                removed: of_events(erased.map_err(|error| no_outbox(&error))?),
                log_emptied: true,
                ..Erased::default()
            })
        })
    }
}

impl Erasable for EventsForFunctions {
    fn name(&self) -> &'static str {
        "function_events"
    }

    fn knows_users(&self) -> bool {
        false
    }

    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        Box::pin(async move {
            let count = match self.0.function_events.get() {
                Some(events) => events.waiting_of(&whose.tenant).await,
                None => Ok(0),
            };
            Ok(of_events(count.map_err(|error| no_outbox(&error))?))
        })
    }

    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased> {
        Box::pin(async move {
            let erased = match self.0.function_events.get() {
                Some(events) => events.erase(&whose.tenant).await,
                None => Ok(0),
            };
            Ok(Erased {
                removed: of_events(erased.map_err(|error| no_outbox(&error))?),
                log_emptied: true,
                ..Erased::default()
            })
        })
    }
}

fn no_outbox(error: &FileError) -> ApiError {
    ApiError::internal("the outbox of events cannot be used").detail_of(error)
}

fn of_events(events: u64) -> Kept {
    let items = [("events", events)];
    Kept {
        items: items.into_iter().filter(|(_, count)| *count > 0).collect(),
        ..Kept::default()
    }
}

fn of_answers(answers: u64, bytes: u64) -> Kept {
    let items = [("answers", answers)];
    Kept {
        items: items.into_iter().filter(|(_, count)| *count > 0).collect(),
        bytes,
        ..Kept::default()
    }
}

fn of_prompts(held: &kebne_context::prompts::PromptHeld) -> Kept {
    let items = [("prompt_calls", held.calls), ("outcomes", held.outcomes)];
    Kept {
        items: items.into_iter().filter(|(_, count)| *count > 0).collect(),
        oldest: held.oldest.map(seconds),
        newest: held.newest.map(seconds),
        ..Kept::default()
    }
}

fn of_jobs(held: &kebne_jobs::erasure::Holdings) -> Kept {
    let items = [
        ("jobs", held.jobs),
        ("batches", held.batches),
        ("notices", held.notices),
    ];
    Kept {
        items: items.into_iter().filter(|(_, count)| *count > 0).collect(),
        bytes: held.bytes,
        oldest: held.oldest.map(seconds),
        newest: held.newest.map(seconds),
        has_key: held.has_key,
    }
}

fn of_agents(held: &kebne_agents::Holdings) -> Kept {
    let items = [
        ("agents", held.agents),
        ("agent_runs", held.runs),
        ("agent_events", held.events),
    ];
    Kept {
        items: items.into_iter().filter(|(_, count)| *count > 0).collect(),
        bytes: held.bytes,
        oldest: held.oldest.map(seconds),
        newest: held.newest.map(seconds),
        has_key: held.has_key,
    }
}

fn of_documents(held: &kebne_collections::erasure::Holdings) -> Kept {
    let items = [
        ("vector_stores", held.collections),
        ("files", held.files),
        ("chunks", held.chunks),
    ];
    Kept {
        items: items.into_iter().filter(|(_, count)| *count > 0).collect(),
        bytes: held.bytes,
        oldest: held.oldest.map(seconds),
        newest: held.newest.map(seconds),
        has_key: held.has_key,
    }
}
