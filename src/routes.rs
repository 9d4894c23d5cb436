//! The routes of the service: names that callers use as models, behind which `kebne-routing` chooses the model.
//!
//! Owns the routers, the vectors of the examples of their intents, and the counts of decisions. It exists so that the stage that chooses does
//! not know settings, and the settings can change while calls are served.

mod counts;
mod finding;
mod memory;
mod prepare;
mod question;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use kebne_retrieval::Embedder;
use kebne_routing::{IntentIndex, RouteSettings, Router};

use crate::{current::Current, gateway::Gateway, settings::Settings};

pub use counts::{Counts, DecisionCount, IntentCount, ShadowCount};
pub use finding::{Finding, Outcome};
pub use memory::remember;
pub use question::Question;

/// The copies for shadows that may be on their way at a time; further ones are dropped.
const SHADOWS_MAX: usize = 16;

/// The routes of a service.
#[derive(Default)]
pub struct Routes {
    table: Current<Table>,
    counts: Counts,
    shadows: Arc<AtomicUsize>,
}

/// The routes as they are at one moment.
#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<String, Arc<Route>>,
    /// In the order of the settings.
    names: Vec<String>,
    /// The headers that conditions of any route name, in lower case.
    headers: Vec<String>,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    router: Router,
    /// The vectors of the examples of its intents, once they are made.
    index: Arc<OnceLock<IntentIndex>>,
}

/// The place of one copy for a shadow, until it is dropped.
#[derive(Debug)]
pub struct ShadowPlace(Arc<AtomicUsize>);

impl Routes {
    /// Follows other settings, whose models the gateway has. The vectors of new or changed examples are made in the background; those of
    /// intents that have not changed stay.
    pub fn change(&self, settings: &Settings, gateway: &Gateway) {
        let before = self.table.get();
        let mut table = Table::default();
        for settings in &settings.routes {
            let settings = with_own_names(settings, gateway);
            let known = before.by_name.get(&settings.name);
            let known = known.filter(|known| known.settings().intents == settings.intents);
            let index = known.map_or_else(Arc::default, |known| Arc::clone(&known.index));
            let is_new = known.is_none() && !settings.intents.is_empty();
            let router = Router::new(settings);
            table.headers.extend(router.headers().iter().cloned());
            table.names.push(router.settings().name.clone());
            let route = Arc::new(Route { router, index });
            if is_new {
                prepare::begin(&route, Arc::clone(gateway.embedder()));
            }
            table.by_name.insert(route.name().to_owned(), route);
        }
        table.headers.sort();
        table.headers.dedup();
        self.counts.keep(&table.names);
        self.table.replace(table);
    }

    /// Returns the route with a name.
    pub fn of(&self, name: &str) -> Option<Arc<Route>> {
        self.table.get().by_name.get(name).cloned()
    }

    /// Returns the names, in the order of the settings.
    pub fn names(&self) -> Vec<String> {
        self.table.get().names.clone()
    }

    /// Returns `true` if there are none.
    pub fn is_empty(&self) -> bool {
        self.table.get().names.is_empty()
    }

    /// Returns the headers of a call that conditions name.
    pub fn headers_of(
        &self,
        headers: &actix_web::http::header::HeaderMap,
    ) -> Vec<(String, String)> {
        let table = self.table.get();
        let named = table.headers.iter().flat_map(|name| {
            let values = headers.get_all(name);
            let values = values.filter_map(|value| value.to_str().ok());
            values.map(|value| (name.clone(), value.to_owned()))
        });
        named.collect()
    }

    /// Returns what is counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns which routes wait for the vectors of their examples.
    pub fn waiting(&self) -> Vec<String> {
        let table = self.table.get();
        let waiting = table.by_name.values().filter(|route| !route.is_ready());
        waiting.map(|route| route.name().to_owned()).collect()
    }

    /// Takes the place of a copy for a shadow; `None` if all are taken.
    pub fn shadow_place(&self) -> Option<ShadowPlace> {
        let take = |taken: usize| (taken < SHADOWS_MAX).then_some(taken + 1);
        let taken = self.shadows.fetch_update(SeqCst, SeqCst, take);
        taken.ok().map(|_| ShadowPlace(Arc::clone(&self.shadows)))
    }
}

impl Route {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.settings().name
    }

    /// Returns the settings, in which models have their own names.
    pub fn settings(&self) -> &RouteSettings {
        self.router.settings()
    }

    /// Returns the pure router.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Returns `true` if the vectors of all examples are there, or it has no intents.
    pub fn is_ready(&self) -> bool {
        self.settings().intents.is_empty() || self.index.get().is_some()
    }

    /// Finds the intent of a question: that of the nearest example. See [`Finding`].
    pub async fn find(
        &self,
        embedder: &dyn Embedder,
        question: &str,
        patience: Duration,
    ) -> Finding {
        finding::find(self, embedder, question, patience).await
    }

    fn index(&self) -> Option<&IntentIndex> {
        self.index.get()
    }
}

/// Returns the settings with the own names of models in the place of aliases.
fn with_own_names(settings: &RouteSettings, gateway: &Gateway) -> RouteSettings {
    let mut settings = settings.clone();
    let own = |name: &mut String| {
        if let Some(own) = gateway.canonical(name) {
            *name = own;
        }
    };
    own(&mut settings.default);
    settings.ask_model.iter_mut().for_each(own);
    for rule in &mut settings.rules {
        rule.target.iter_mut().for_each(own);
        let canary = rule.canary.iter_mut();
        canary.for_each(|canary| own(&mut canary.model));
        let shadow = rule.shadow.iter_mut();
        shadow.for_each(|shadow| own(&mut shadow.model));
        rule.when.last_targets.iter_mut().for_each(own);
    }
    settings
}

impl Drop for ShadowPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Routes")
            .field("names", &self.table.get().names)
            .finish_non_exhaustive()
    }
}
