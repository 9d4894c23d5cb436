//! The tool that searches the collections of an agent.

use std::{sync::Weak, time::Duration};

use kebne_agents::{Call, RunContext, SEARCH, Tool, ToolError, ToolSpec, Work};
use kebne_collections::Query;
use serde_json::{Value, json};

use crate::{agents::caller::RunCaller, sources, state::State};

/// The results of a search, at most and by default.
const RESULTS: (u64, u64) = (20, 5);
/// The longest question, in bytes.
const QUESTION_MAX: usize = 16 << 10;

/// Searches the collections of an agent.
pub(super) struct Search {
    spec: ToolSpec,
    state: Weak<State>,
    caller: RunCaller,
    collections: Vec<String>,
}

impl Search {
    pub(super) fn new(state: Weak<State>, of: &RunContext) -> Self {
        let parameters = json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "What to search for."},
                "results": {"type": "integer", "minimum": 1, "maximum": RESULTS.0},
            },
            "required": ["query"],
        });
        let spec = ToolSpec::new(
            SEARCH,
            "Searches the documents and returns the parts that fit best.",
        );
        Self {
            spec: spec.parameters(parameters).read_only(),
            state,
            caller: RunCaller::new(of),
            collections: of.spec.collections.clone(),
        }
    }

    async fn search(&self, call: &Call) -> Result<String, ToolError> {
        let failed = |why: &str| ToolError(why.to_owned());
        let query = call.arguments["query"].as_str().unwrap_or_default();
        if query.is_empty() || query.len() > QUESTION_MAX {
            return Err(failed("`query` must be a text of at most 16 KiB"));
        }
        let results = match &call.arguments["results"] {
            Value::Null => RESULTS.1,
            number => number.as_u64().unwrap_or(0),
        };
        if !(1..=RESULTS.0).contains(&results) {
            return Err(failed("`results` must be 1 to 20"));
        }
        let state = self
            .state
            .upgrade()
            .ok_or_else(|| failed("the service stops"))?;
        let caller = self.caller.of(&state);
        let caller = caller.ok_or_else(|| failed("the key is not accepted any more"))?;
        let behalf = caller.behalf(&call.run, self.caller.gateways());
        let asker = sources::Asker {
            owner: &call.owner,
            behalf: &behalf,
            patience: Duration::MAX,
        };
        let search = sources::Search {
            query: Query {
                collections: self.collections.clone(),
                texts: vec![query.to_owned()],
                limit: usize::try_from(results).unwrap_or(1),
                ..Query::default()
            },
            ranker: sources::options::of_settings(&state),
        };
        let found = Box::pin(sources::find(&state, asker, search)).await;
        let found = found.map_err(|error| ToolError(error.message().to_owned()))?;
        let found: Vec<Value> = found
            .sources
            .iter()
            .map(|source| json!({"file": source.name, "score": source.score, "text": source.text}))
            .collect();
        Ok(json!(found).to_string())
    }
}

impl Tool for Search {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Call) -> Work<'a, Result<String, ToolError>> {
        Box::pin(self.search(call))
    }
}

impl std::fmt::Debug for Search {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Search")
            .field("collections", &self.collections)
            .finish_non_exhaustive()
    }
}
