//! What the settings say about searches in calls, by model.

use std::collections::BTreeMap;

use crate::settings::{
    RetrievalSettings, Settings, TokenBudgetSettings, retrieval::ModelRetrievalSettings,
};

/// The rules of searches in calls.
#[derive(Clone, Debug, Default)]
pub struct Retrieval {
    /// How what is found is brought into its order.
    pub settings: RetrievalSettings,
    /// How the tokens of a window are divided.
    pub budget: TokenBudgetSettings,
    models: BTreeMap<String, OfModel>,
}

#[derive(Clone, Debug, Default)]
struct OfModel {
    window: Option<u64>,
    searches: Option<ModelRetrievalSettings>,
}

impl Retrieval {
    /// Reads the rules of the settings.
    pub fn new(settings: &Settings) -> Self {
        let models = settings.models.iter().map(|model| {
            let of_model = OfModel {
                window: model.context_window,
                searches: model.retrieval.clone(),
            };
            (model.name.clone(), of_model)
        });
        Self {
            settings: settings.retrieval.clone(),
            budget: settings.token_budget.clone(),
            models: models.collect(),
        }
    }

    /// Returns the searches that each call of a model makes, given by its own name.
    pub fn of_model(&self, model: &str) -> Option<&ModelRetrievalSettings> {
        self.models.get(model)?.searches.as_ref()
    }

    /// Returns the context window of a model, given by its own name, in tokens; `None` if it is not known.
    pub fn window(&self, model: &str) -> Option<u64> {
        let own = self.models.get(model).and_then(|model| model.window);
        own.or(self.budget.window)
    }
}
