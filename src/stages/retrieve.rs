//! Puts what is found in collections before the question of a call.

mod header;
#[cfg(test)]
mod injections;
mod prompt;
mod tell;

use std::{collections::BTreeSet, sync::Arc};

use actix_web::web::Data;
use kebne_collections::{Query, Source};
use kebne_context::budget::Parts;
use kebne_wire::{
    adjust::Author,
    file_search::FileSearch,
    request::{Endpoint, tokens_of},
    turn::NewTurn,
};
use tokio::time::Instant;

use crate::{
    caller::Caller,
    llm::kind_of,
    record::Retrieved,
    settings::{
        retrieval::{COLLECTIONS_MAX, ModelRetrievalSettings},
        server::Scope,
    },
    sources::{
        self, Asker, Search, Times, Ways,
        options::{SearchOptions, of_settings},
    },
    stages::{
        Stage,
        shape::{Shaped, asked},
    },
    state::State,
    surface::error::ApiError,
    token_budget::{self, Fixed},
};

pub(super) use prompt::hidden;

use prompt::Tokens;

/// The name, in a dry run, of the part of a call that has texts which its caller may not read.
pub(super) const HIDDEN: &str = "hidden sources";
/// The most bytes of a question that is searched for; what follows is left out.
const QUESTION_MAX: usize = 16 << 10;

/// Searches the collections that a call or its model names, and puts what it finds before the caller's last message.
///
/// What documents say is not to be trusted: it stands in a message of the user, never in an instruction, between fences that no document can
/// foresee. A session keeps the caller's own message only.
pub(super) struct Retrieve<'a> {
    state: &'a Data<State>,
}

/// One search of a call.
struct Plan {
    /// The owner of the collections.
    owner: String,
    search: Search,
}

/// What all searches of a call found.
#[derive(Default)]
struct Gathered {
    sources: Vec<Source>,
    /// The collections whose texts a dry run of the caller does not show.
    foreign: BTreeSet<String>,
    ways: Vec<Ways>,
    times: Times,
}

impl<'a> Retrieve<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

impl Stage for Retrieve<'_> {
    type In = Shaped;
    type Out = Shaped;

    async fn run(&self, mut shaped: Shaped) -> Result<Shaped, ApiError> {
        let retrieval = self.state.retrieval.get();
        let model = self.state.gateway.canonical(&shaped.model);
        // A route has checked what its callers may call; otherwise the call is refused when its model is found.
        let is_checked = shaped.call.notes.is_routed();
        if let Some(model) = &model
            && !is_checked
            && !shaped.caller.may_call(model)
        {
            return Ok(shaped);
        }
        let own = model.as_ref().and_then(|model| retrieval.of_model(model));
        let own = own
            .filter(|_| shaped.request.endpoint == Endpoint::Chat)
            .cloned();
        let tool = shaped.file_search.take();
        let chosen = tool.as_ref().filter(|tool| tool.is_chosen);
        if shaped.collections.is_empty() && chosen.is_none() && own.is_none() {
            return Ok(shaped);
        }
        // On the heap, because most calls search nothing.
        let asked = Asked {
            model: model.map(|model| model.as_str().to_owned()),
            tool,
            own,
        };
        Box::pin(self.retrieve(shaped, asked)).await
    }
}

/// What makes a call search.
struct Asked {
    /// The model, by its own name.
    model: Option<String>,
    tool: Option<FileSearch>,
    own: Option<ModelRetrievalSettings>,
}

impl Retrieve<'_> {
    /// Searches, and puts what is found before the question.
    async fn retrieve(&self, mut shaped: Shaped, asked: Asked) -> Result<Shaped, ApiError> {
        let Asked { model, tool, own } = asked;
        let chosen = tool.as_ref().filter(|tool| tool.is_chosen);
        let (turn, question) = self.question(&shaped).await?;
        let plans = self.plans(&mut shaped, &question, chosen, own.as_ref())?;
        let limit = plans.iter().map(|plan| plan.search.query.limit).max();
        let mut found = self.search(&shaped, plans).await?;
        found.sources.truncate(limit.unwrap_or(0));
        let assembled = Instant::now();
        let count = found.sources.len();
        let tokens_max = own.as_ref().and_then(|own| own.tokens_max);
        let tokens = self
            .tokens(&shaped, turn.as_ref(), model.as_deref(), tokens_max)
            .await?;
        let tokenizer = self.state.context_settings.tokenizer;
        let (sources, about) = (std::mem::take(&mut found.sources), question.clone());
        let fence = self.state.fence.clone();
        let fit = move || prompt::fitted(&fence, &about, sources, tokens, tokenizer);
        let (sources, text) = self.state.off_loop.run(fit).await?;
        if !sources.is_empty() {
            let is_hidden = sources
                .iter()
                .any(|source| found.foreign.contains(&source.collection));
            let part = if is_hidden { HIDDEN } else { "sources" };
            self.insert(&mut shaped, turn.as_deref(), (part, &text))?;
        }
        let left_out = count - sources.len();
        tell::announce(&mut shaped, &sources, left_out, &found.ways);
        shaped
            .writer
            .set_found(tell::shown(question, &sources, tool.as_ref()));
        shaped.call.notes.set_retrieved(Retrieved {
            chunks: sources.len(),
            embed: found.times.embed,
            search: found.times.search,
            rerank: found.times.rerank,
            assemble: assembled.elapsed(),
        });
        shaped.call.notes.passed("retrieve");
        Ok(shaped)
    }

    /// Returns the messages of a call and the text that is searched for: that of the caller's last message. There are no messages of a call
    /// that only a backend of the caller's own dialect can carry out.
    async fn question(&self, shaped: &Shaped) -> Result<(Option<Arc<NewTurn>>, String), ApiError> {
        let size = shaped.request.body.len();
        let (turn, mut question) = if let Some(error) = &shaped.only_native {
            let native = shaped.request.native.clone();
            let native = native.ok_or_else(|| error.clone())?;
            let question = self.state.off_loop.read(size, move || native.question());
            (None, question.await?)
        } else {
            let body = shaped.request.body.clone();
            let read = move || NewTurn::read_any(&body).map(Arc::new);
            let turn = self.state.off_loop.read(size, read).await??;
            let question = turn.input();
            (Some(turn), question)
        };
        question.truncate(question.floor_char_boundary(QUESTION_MAX));
        Ok((turn, question))
    }

    /// Returns the searches of a call: by its tool, its header and its model, at most one each.
    fn plans(
        &self,
        shaped: &mut Shaped,
        question: &str,
        tool: Option<&FileSearch>,
        of_model: Option<&ModelRetrievalSettings>,
    ) -> Result<Vec<Plan>, ApiError> {
        let retrieval = self.state.retrieval.get();
        let limit = self.state.collections.settings().prompt_sources_max;
        let caller = Arc::clone(&shaped.caller);
        let share = retrieval.settings.relevance_share;
        let floor = self.state.collections.prompt_floor();
        let of = |owner: &str, collections, limit, share| Plan {
            owner: owner.to_owned(),
            search: Search {
                query: Query {
                    collections,
                    texts: vec![question.to_owned()],
                    limit,
                    relevance_share: share,
                    floor,
                    ..Query::default()
                },
                ranker: of_settings(self.state),
            },
        };
        let mut plans = Vec::new();
        if let Some(tool) = tool {
            let mut search = self.of_tool(shaped, tool, question, limit)?;
            let query = &mut search.query;
            query.relevance_share = query.relevance_share.or(share);
            query.floor = query.floor.or(floor);
            plans.push(Plan {
                owner: caller.owner.clone(),
                search,
            });
        }
        let named = std::mem::take(&mut shaped.collections);
        if !named.is_empty() {
            plans.push(of(&caller.owner, named, limit, share));
        }
        if let Some(own) = of_model {
            let limit = own.sources_max.unwrap_or(limit);
            let share = own.relevance_share.or(share);
            plans.push(of(&own.owner, own.collections.clone(), limit, share));
        }
        // Nothing is searched for without a text.
        plans.retain(|_| !question.is_empty());
        Ok(plans)
    }

    fn of_tool(
        &self,
        shaped: &Shaped,
        tool: &FileSearch,
        question: &str,
        limit: usize,
    ) -> Result<Search, ApiError> {
        let at = |key: &str| format!("{}.{key}", tool.path);
        if tool.vector_store_ids.len() > COLLECTIONS_MAX {
            let message = format!("a call can search {COLLECTIONS_MAX} vector stores");
            return Err(ApiError::bad_request(
                Some(&at("vector_store_ids")),
                message,
            ));
        }
        let options = SearchOptions::of_tool(tool)?;
        let what = (tool.vector_store_ids.clone(), vec![question.to_owned()]);
        let who = (&***self.state, &*shaped.caller);
        options.search(who, what, limit, &at(""))
    }

    /// Makes the searches, and returns what they found together, the best first.
    async fn search(&self, shaped: &Shaped, plans: Vec<Plan>) -> Result<Gathered, ApiError> {
        let (mut all, behalf) = (Gathered::default(), shaped.behalf());
        let count = plans.len();
        for plan in plans {
            let collections = plan.search.query.collections.clone();
            if may_not_read(&shaped.caller, &plan.owner) {
                all.foreign.extend(collections.iter().cloned());
            }
            let asker = Asker {
                owner: &plan.owner,
                behalf: &behalf,
                patience: shaped.patience(),
            };
            let found = sources::find(self.state, asker, plan.search).await;
            for collection in &collections {
                shaped.call.notes.accessed("vector_stores", collection);
            }
            let found = found?;
            all.times.add(found.times);
            all.ways.push(found.ways);
            all.sources.extend(found.sources);
        }
        if count > 1 {
            let sources = &mut all.sources;
            sources.sort_by(|left, right| right.score.total_cmp(&left.score));
            let mut seen = BTreeSet::new();
            sources.retain(|source| seen.insert((source.file.clone(), source.place)));
        }
        Ok(all)
    }

    /// Returns the tokens that the sources may take.
    async fn tokens(
        &self,
        shaped: &Shaped,
        turn: Option<&Arc<NewTurn>>,
        model: Option<&str>,
        of_model: Option<u64>,
    ) -> Result<Tokens, ApiError> {
        let retrieval = self.state.retrieval.get();
        let of_settings = self.state.collections.settings().prompt_tokens_max;
        let window = model.and_then(|model| retrieval.window(model));
        let mut fixed = Fixed::default();
        if window.is_some() {
            let own = match turn {
                None => tokens_of(shaped.request.body.len()).into(),
                Some(turn) => {
                    let tokenizer = self.state.context_settings.tokenizer;
                    let counted = Arc::clone(turn);
                    let count = move || counted.tokens(|message| tokenizer.count_message(message));
                    let messages = self.state.off_loop.run(count).await??;
                    messages.saturating_add(tokens_of(turn.rest_size()).into())
                }
            };
            fixed = Fixed {
                own,
                answer: shaped.options.cost_uncertain.into(),
            };
        }
        let wanted = Parts {
            retrieval: u64::MAX,
            ..Parts::default()
        };
        let room = token_budget::room(window, &retrieval.budget, fixed, wanted);
        // A call of a session divides its budget among all its parts.
        let of_session = shaped.follow.as_ref();
        let of_session = of_session.and_then(|follow| follow.retrieval_tokens);
        let texts = of_model.unwrap_or(of_settings);
        Ok(Tokens {
            texts: texts.min(of_session.unwrap_or(u64::MAX)),
            all: room.retrieval,
        })
    }

    /// Puts a text before the question, in each form in which the call may be sent.
    fn insert(
        &self,
        shaped: &mut Shaped,
        turn: Option<&NewTurn>,
        (part, text): (&'static str, &str),
    ) -> Result<(), ApiError> {
        let tokenizer = self.state.context_settings.tokenizer;
        shaped.call.notes.part(part, || tokenizer.count(text));
        let before = shaped.request.body.len();
        let native = shaped.request.native.take();
        let mut native = native.and_then(|native| native.with_sources(text));
        if let Some(native) = &mut native {
            native.body = self.state.bodies.hold(native.body.clone())?;
        }
        match (turn, &native) {
            (Some(turn), _) => {
                if let Some(request) = turn.with_sources(&shaped.request, text) {
                    shaped.request = request;
                    shaped.request.author = shaped.request.author.max(Author::History);
                    shaped.request.body = self.state.bodies.hold(shaped.request.body.clone())?;
                }
            }
            // It stands in the place of the chat call.
            (None, Some(native)) => {
                shaped.request.body = native.body.clone();
                shaped.request.model_span = native.model_span.clone();
            }
            (None, None) => {}
        }
        shaped.request.native = native;
        let more = shaped.request.body.len().saturating_sub(before);
        let (options, request) = (&mut shaped.options, &shaped.request);
        options.cost = options.cost.saturating_add(tokens_of(more));
        options.bytes = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        options.kind = kind_of(request, options.cost, options.cost_uncertain);
        shaped.call.notes.set_asked(asked(options, request));
        Ok(())
    }
}

/// Returns `true` if a caller may not read the documents of an owner: neither are they its own, nor is it an operator.
fn may_not_read(caller: &Caller, owner: &str) -> bool {
    caller.owner != owner && caller.require(Scope::Admin).is_err()
}
