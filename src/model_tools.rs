//! The tools that the gateway calls for the calls of a model, by the settings.

use std::{collections::BTreeMap, sync::Arc};

use crate::settings::Settings;

/// The MCP servers of models.
#[derive(Clone, Debug, Default)]
pub struct ModelTools(BTreeMap<String, Arc<[String]>>);

impl ModelTools {
    /// Reads them of the settings.
    pub fn new(settings: &Settings) -> Self {
        let models = settings.models.iter();
        let models = models.filter_map(|model| {
            let tools = model.tools.as_ref()?;
            Some((model.name.clone(), tools.mcp.clone().into()))
        });
        Self(models.collect())
    }

    /// Returns the servers of a model, given by its own name; `None` if it has none.
    pub fn servers(&self, model: &str) -> Option<Arc<[String]>> {
        self.0.get(model).cloned()
    }
}
