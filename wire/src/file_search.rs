//! The tool `file_search` of `OpenAI`'s API, which the gateway runs itself: it is taken out of a call before the call is sent.
//!
//! [`FileSearch`] is what a call asks for, [`Found`] what was found for it, and [`Citations`] finds the citations in an answer.

mod chat;
mod citations;
mod found;

use serde_json::{Map, Value};

use crate::translate::{Fields, InvalidField, Path};

pub use chat::take_from_chat;
pub use citations::Citations;
pub use found::{Found, FoundChunk};

/// The type of the tool.
pub(crate) const TOOL: &str = "file_search";
/// The entry of `include` that asks for the results.
pub(crate) const RESULTS: &str = "file_search_call.results";

/// A search that a call asks for by the tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileSearch {
    /// The ids of the vector stores.
    pub vector_store_ids: Vec<String>,
    /// The options of the search as they came: `filters`, `max_num_results` and `ranking_options`.
    pub options: Map<String, Value>,
    /// Where the tool stands in the request, such as `tools[0]`.
    pub path: String,
    /// `true` if the call asks for the results.
    pub includes_results: bool,
    /// `false` if the call's `tool_choice` excludes the tool.
    pub is_chosen: bool,
}

impl FileSearch {
    /// Reads a tool of this type.
    pub(crate) fn of_tool(mut tool: Fields<'_>) -> Result<Self, InvalidField> {
        let path = tool.path();
        tool.take("type");
        let ids = tool.take_list("vector_store_ids")?.unwrap_or_default();
        let ids: Option<Vec<String>> = ids
            .into_iter()
            .map(|id| match id {
                Value::String(id) if !id.is_empty() => Some(id),
                _ => None,
            })
            .collect();
        let ids = ids.filter(|ids| !ids.is_empty());
        let ids = ids.ok_or_else(|| {
            let reason = "must be the ids of at least one vector store";
            tool.wrong("vector_store_ids", reason)
        })?;
        let options = tool.take_all(&["filters", "max_num_results", "ranking_options"]);
        tool.refuse_rest()?;
        Ok(Self {
            vector_store_ids: ids,
            options,
            path: path.to_string(),
            includes_results: false,
            is_chosen: true,
        })
    }

    /// Puts a tool in the place of the call's search; a call has at most one.
    pub(crate) fn set(
        place: &mut Option<Self>,
        tool: Fields<'_>,
        path: Path<'_>,
    ) -> Result<(), InvalidField> {
        if place.is_some() {
            return Err(InvalidField::at(path, "is a second `file_search`"));
        }
        *place = Some(Self::of_tool(tool)?);
        Ok(())
    }
}

/// Returns `true` for a tool of this type.
pub(crate) fn is_file_search(tool: &Value) -> bool {
    tool["type"] == TOOL
}

/// Returns what a `tool_choice` becomes once the tool is taken out, and whether it lets the tool be used. Without other tools there is
/// nothing to choose. The search that is done satisfies a choice that requires a tool.
pub(crate) fn choice_without(
    choice: Option<Value>,
    has_other_tools: bool,
) -> (Option<Value>, bool) {
    let Some(choice) = choice else {
        return (None, true);
    };
    let kind = choice["type"].as_str();
    let names_tool = kind == Some(TOOL) || choice == TOOL;
    let is_required = choice == "required";
    let allows = match kind {
        Some("allowed_tools") => {
            let tools = choice["tools"]
                .as_array()
                .or(choice["allowed_tools"]["tools"].as_array());
            tools.is_some_and(|tools| tools.iter().any(is_file_search))
        }
        Some(_) => names_tool,
        None => choice != "none",
    };
    if !has_other_tools {
        return (None, allows);
    }
    let rest = if names_tool || is_required {
        Value::from("auto")
    } else {
        choice
    };
    (Some(rest), allows)
}
