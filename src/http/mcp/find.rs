//! The two tools that stand for the tools of servers when these are too many to be listed: one that finds them, and one that calls them.

use std::sync::Arc;

use kebne_mcp::{CallEnding, Tool, ToolCall};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::gateway::mcp::OfferedTool;

use super::own;

/// The tool that finds tools.
pub(super) const FIND: &str = "kebne__find_tools";
/// The tool that calls one of them.
pub(super) const CALL: &str = "kebne__call_tool";
/// The tools that are found, at most and by default.
const FOUND: (usize, usize) = (50, 10);
/// How much more a word counts in a name than in a description.
const IN_NAME: usize = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    query: String,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

/// Returns the two tools.
pub(super) fn tools() -> Vec<(String, Arc<Tool>)> {
    let find = own::schema(
        &json!({
            "query": {"type": "string", "description": "What the tool is to do, in a few words."},
            "limit": {"type": "integer", "minimum": 1, "maximum": FOUND.0},
        }),
        &["query"],
    );
    let call = own::schema(
        &json!({
            "name": {"type": "string", "description": "The name of a tool that was found."},
            "arguments": {"type": "object", "description": "Its arguments, as its schema has them."},
        }),
        &["name"],
    );
    let about = "Finds tools by words; returns their names, descriptions and the schemas of their arguments.";
    let find = Tool::own(FIND, about, find).read_only();
    let call = Tool::own(CALL, "Calls a tool that was found.", call);
    vec![
        (FIND.to_owned(), Arc::new(find)),
        (CALL.to_owned(), Arc::new(call)),
    ]
}

/// Returns the tools that have words of a question, the best first. Those that have as many are in the order of their names.
pub(super) fn found(
    tools: &[OfferedTool],
    arguments: Map<String, Value>,
) -> Result<Value, CallEnding> {
    let wanted: Wanted = own::read_arguments(Value::Object(arguments))?;
    let limit = wanted.limit.unwrap_or(FOUND.1);
    if !(1..=FOUND.0).contains(&limit) {
        return Err(CallEnding::Invalid("`limit` must be 1 to 50".to_owned()));
    }
    let query = wanted.query.to_lowercase();
    let words: Vec<&str> = words_of(&query).collect();
    let mut scored: Vec<(usize, &OfferedTool)> = tools
        .iter()
        .map(|tool| (score(tool, &words), tool))
        .filter(|(score, _)| *score > 0)
        .collect();
    scored.sort_by(|(one, first), (other, second)| {
        other.cmp(one).then_with(|| first.name.cmp(&second.name))
    });
    let found = scored.iter().take(limit).map(|(_, offered)| {
        let tool = &offered.tool;
        json!({
            "name": offered.name, "description": tool.description(),
            "input_schema": tool.input_schema(), "read_only": tool.is_read_only(),
        })
    });
    Ok(own::result(&json!({"tools": found.collect::<Vec<_>>()})))
}

/// Returns the call that a call of the second tool stands for.
pub(super) fn called(arguments: Map<String, Value>) -> Result<ToolCall, CallEnding> {
    let Called { name, arguments } = own::read_arguments(Value::Object(arguments))?;
    Ok(ToolCall { name, arguments })
}

fn score(offered: &OfferedTool, words: &[&str]) -> usize {
    let name = offered.name.to_lowercase();
    let description = offered.tool.description().to_lowercase();
    let has = |text: &str, word: &str| words_of(text).any(|one| one.starts_with(word));
    let each = words
        .iter()
        .map(|word| IN_NAME * usize::from(has(&name, word)) + usize::from(has(&description, word)));
    each.sum()
}

/// Returns the words of a text, without those of one letter.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| word.len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(name: &str, description: &str) -> OfferedTool {
        OfferedTool {
            server: "s".to_owned(),
            name: format!("s__{name}"),
            tool: Arc::new(Tool::own(name, description, Map::new())),
        }
    }

    fn names(tools: &[OfferedTool], arguments: &Value) -> Vec<String> {
        let Value::Object(arguments) = arguments.clone() else {
            return Vec::new();
        };
        let found = found(tools, arguments).unwrap();
        let found = found["structuredContent"]["tools"]
            .as_array()
            .unwrap()
            .clone();
        let names = found.iter().map(|tool| tool["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }

    #[test]
    fn the_tools_with_the_most_words_come_first() {
        let tools = [
            offered("write_file", "Writes a file."),
            offered("read_file", "Reads a file."),
            offered("weather", "Tells whether it rains; reads nothing."),
            offered("sum", "Adds numbers."),
        ];
        let names =
            |query: &str, limit: usize| names(&tools, &json!({"query": query, "limit": limit}));
        assert_eq!(names("READ a file!", 2), ["s__read_file", "s__write_file"]);
        assert_eq!(names("reads", 10), ["s__read_file", "s__weather"]);
        assert_eq!(names("file", 10), ["s__read_file", "s__write_file"]);
        assert_eq!(names("nothing of this", 10), ["s__weather"]);
        assert_eq!(names("?", 10), [""; 0]);
    }
}
