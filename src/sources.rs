//! Searches in collections: vectors, candidates, an order by a model where one is set, and the choice of the results.

pub(crate) mod filter;
pub(crate) mod object;
pub(crate) mod options;
mod rerank;

use std::time::Duration;

use kebne_collections::{Coverage, Query, Source};
use tokio::time::Instant;

use crate::{gateway::behalf::Behalf, state::State, surface::error::ApiError};

pub(crate) use rerank::Unranked;

/// A search, and the model that brings what it finds into its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    pub(crate) query: Query,
    /// The model, by its own name; `None` keeps the order of the search.
    pub(crate) ranker: Option<String>,
}

/// For whom a search is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// The owner of the collections.
    pub(crate) owner: &'a str,
    /// The behalf of what models are asked: for the vectors, and for the order.
    pub(crate) behalf: &'a Behalf,
    /// The time for the order by a model.
    pub(crate) patience: Duration,
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The chunks, the best first.
    pub(crate) sources: Vec<Source>,
    pub(crate) ways: Ways,
    pub(crate) times: Times,
}

/// How a search went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    /// How far vectors were used.
    pub(crate) coverage: Coverage,
    /// The model that was asked for the order, and why it gave none.
    pub(crate) ranked: Option<(String, Result<(), Unranked>)>,
}

/// How long the steps of a search took; zero for a step that was not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) embed: Duration,
    pub(crate) search: Duration,
    pub(crate) rerank: Duration,
}

impl Times {
    /// Adds the times of another search.
    pub(crate) fn add(&mut self, other: Self) {
        self.embed += other.embed;
        self.search += other.search;
        self.rerank += other.rerank;
    }
}

/// Returns the chunks that fit a query best, the best first, and notes that the collections are used.
///
/// # Errors
/// Returns a 404 if the owner has no such collection, and a 503 if the store fails.
pub(crate) async fn find(
    state: &State,
    asker: Asker<'_>,
    search: Search,
) -> Result<Found, ApiError> {
    let Search { mut query, ranker } = search;
    let settings = &state.retrieval.get().settings;
    if ranker.is_some() {
        query.candidates = settings.rerank_candidates;
    }
    let (collections, owner) = (state.collections.clone(), asker.owner.to_owned());
    let ids = query.collections.clone();
    let begun = Instant::now();
    let embedder = state.gateway.embedder_for(asker.behalf);
    let vectors = collections.embed_query_by(&query, &*embedder).await;
    let embedded = Instant::now();
    let asked = query.clone();
    let search = move || collections.candidates(&owner, &asked, &vectors);
    let mut candidates = state.off_loop.run(search).await??;
    let searched = Instant::now();
    let mut ranked = None;
    if let Some(model) = ranker
        && !candidates.items.is_empty()
    {
        let scores = rerank::scores(state, asker, (&model, settings), (&query, &candidates)).await;
        let result = scores.map(|scores| candidates.rerank(&scores));
        ranked = Some((model, result));
    }
    let times = Times {
        embed: embedded - begun,
        search: searched - embedded,
        rerank: ranked
            .as_ref()
            .map_or(Duration::ZERO, |_| searched.elapsed()),
    };
    let found = candidates.choose(&query);
    state.collections.touch(asker.owner, &ids).await;
    Ok(Found {
        sources: found.sources,
        ways: Ways {
            coverage: found.coverage,
            ranked,
        },
        times,
    })
}
