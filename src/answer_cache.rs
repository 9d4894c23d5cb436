//! What the calls of this process share of the cache: the store, the rules of the models, the calls that are on their way, and the counts.

mod counts;
mod flight;
mod kept;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use kebne_answer_cache::AnswerCache;
use kebne_cache::CacheRules;
use sha2::{Digest, Sha256};

use crate::{
    current::Current,
    live::CacheSample,
    settings::{BackendSettings, BaseUrl, ModelSettings, Settings},
};

pub use counts::ModelCounts;
pub(crate) use counts::{CacheCounts, SemanticEvent};
pub(crate) use flight::{Begun, Flights, Joined, Lead, NotBegun, RideItem, Rider};
pub(crate) use kept::KeptAnswer;

/// The cache of the process.
#[derive(Debug)]
pub struct Cache {
    /// The store.
    pub(crate) store: AnswerCache,
    /// The calls that are on their way, by their keys.
    pub(crate) flights: Arc<Flights>,
    /// What happened to calls.
    pub(crate) counts: CacheCounts,
    models: Current<HashMap<String, Arc<ModelCache>>>,
    /// How often answers were erased: an answer that began before is not kept.
    erasures: Arc<AtomicU64>,
}

/// The cache of one model.
#[derive(Debug)]
pub(crate) struct ModelCache {
    /// The rules.
    pub(crate) rules: CacheRules,
    /// A digest of the backends of the model and of what they ask of which server: an answer of others is another answer.
    pub(crate) backends: String,
}

impl Cache {
    /// Creates the cache of the settings.
    pub fn new(store: AnswerCache, settings: &Settings) -> Self {
        let size_max = store.settings().entry_size_max.as_usize();
        let cache = Self {
            store,
            flights: Arc::new(Flights::new(size_max)),
            counts: CacheCounts::default(),
            models: Current::default(),
            erasures: Arc::default(),
        };
        cache.change(settings);
        cache
    }

    /// Follows other settings.
    pub fn change(&self, settings: &Settings) {
        let cached = settings.models.iter().filter(|model| model.cache.is_on());
        let models = cached.map(|model| {
            let cache = ModelCache {
                rules: model.cache.clone(),
                backends: digest_of(model, &settings.backends),
            };
            (model.name.clone(), Arc::new(cache))
        });
        self.models.replace(models.collect());
    }

    /// Returns the cache of a model, given by its own name; `None` if its answers are not kept.
    pub(crate) fn of(&self, model: &str) -> Option<Arc<ModelCache>> {
        self.models.get().get(model).cloned()
    }

    /// Returns what the page shows; `None` if no answers are kept and none were.
    pub(crate) fn sample(&self) -> Option<CacheSample> {
        let counts = self.counts.all();
        if counts.is_empty() && self.models.get().is_empty() {
            return None;
        }
        let health = self.store.health();
        let mut sample = CacheSample {
            entries: health.totals.entries,
            bytes: health.totals.bytes,
            is_store_up: health.reason.is_none(),
            ..CacheSample::default()
        };
        for model in counts.values() {
            sample.calls += model.calls.values().sum::<u64>();
            sample.answered += model.answered();
            sample.saved_tokens = sample.saved_tokens.saturating_add(model.saved_tokens);
            sample.saved_cost = sample.saved_cost.saturating_add(model.saved_cost);
        }
        Some(sample)
    }

    /// Returns a number that changes with each erasure.
    pub(crate) fn erasures(&self) -> u64 {
        self.erasures.load(SeqCst)
    }

    /// Returns a check whether answers were erased since there were this many erasures.
    pub(crate) fn not_erased_since(&self, erasures: u64) -> impl FnOnce() -> bool + Send + 'static {
        let now = Arc::clone(&self.erasures);
        move || now.load(SeqCst) == erasures
    }

    /// Notes that answers are about to be erased.
    pub(crate) fn erasing(&self) {
        self.erasures.fetch_add(1, SeqCst);
    }
}

/// Returns a digest of what the answers of a model depend on at its backends. Settings can hold secrets (in addresses and headers): only the
/// digest is kept.
fn digest_of(model: &ModelSettings, backends: &[BackendSettings]) -> String {
    let named = model.backend_names().map(|name| {
        let backend = backends.iter().find(|backend| backend.name == *name)?;
        let address = backend.base_url.as_ref().map(BaseUrl::expose);
        // The program that is the server, which has the model in its arguments.
        let process = backend.process.as_ref();
        let process = process.map(|one| (&one.command, &one.args, &one.env, &one.cwd));
        Some(serde_json::json!([
            [backend.kind, address, backend.model],
            [backend.headers, backend.headers_file],
            [backend.chat_template, backend.output_tokens_default],
            process,
        ]))
    });
    let named: Vec<_> = named.collect();
    let all = serde_json::json!([model.backends, model.upstream, named]);
    hex::encode(Sha256::digest(all.to_string()))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use crate::settings::{BackendKind, HumanDuration, Replicas};

    use super::*;

    #[test]
    fn another_server_or_model_behind_a_name_is_another_digest() {
        let backend = BackendSettings {
            name: "b".to_owned(),
            kind: BackendKind::OpenAi,
            base_url: Some(BaseUrl::new("http://user:secret@localhost/v1")),
            ..BackendSettings::default()
        };
        let model = ModelSettings {
            backends: vec![Replicas::from("b")],
            ..ModelSettings::default()
        };
        let of = |change: &dyn Fn(&mut BackendSettings)| {
            let mut changed = backend.clone();
            change(&mut changed);
            digest_of(&model, &[changed])
        };
        let before = of(&|_| ());
        assert_eq!(before.len(), 64);
        let pair = || ("x-a".to_owned(), "b".to_owned());
        let changes: [&dyn Fn(&mut BackendSettings); 7] = [
            &|_| (),
            &|backend| backend.model = Some("n".to_owned()),
            &|backend| backend.base_url = Some(BaseUrl::new("http://localhost/v2")),
            &|backend| backend.kind = BackendKind::Ollama,
            &|backend| backend.headers = [pair()].into(),
            &|backend| backend.headers_file = [("x-a".to_owned(), "b".into())].into(),
            &|backend| backend.chat_template = Some("t".to_owned()),
        ];
        let digests: HashSet<String> = changes.into_iter().map(&of).collect();
        assert_eq!(digests.len(), changes.len());
        assert!(digests.contains(&before));
        // What no answer depends on, and backends of other models.
        assert_eq!(
            of(&|backend| backend.connect_timeout = HumanDuration(Duration::from_secs(9))),
            before
        );
        let other = BackendSettings::default();
        assert_eq!(digest_of(&model, &[other, backend.clone()]), before);
    }
}
