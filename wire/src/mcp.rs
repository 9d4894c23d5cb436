//! The tool `mcp` of `OpenAI`'s Responses API, which the gateway runs itself: the servers that a call names, which of their tools need an
//! approval, and the steps that an answer reports.
//!
//! A server is named by its label alone: it is one of the settings. A URL is refused, because the gateway connects to no server that a call names.

mod approval;
mod items;
mod result;
mod step;

use serde_json::{Map, Value, json};

use crate::translate::{Fields, InvalidField, Path};

pub use approval::{ApprovalRule, ToolFilter};
pub use items::{Approval, ApprovalRequest, McpItems};
pub use result::result_text;
pub use step::{McpEnding, McpStep};

/// The type of the tool.
pub(crate) const TOOL: &str = "mcp";
/// Fields of the tool that name a server, or how it is reached. Servers are those of the settings.
const CONNECTIONS: [&str; 4] = ["server_url", "connector_id", "authorization", "headers"];
/// The longest name that models accept for a tool.
const TOOL_NAME_MAX: usize = 64;
/// The most tools of this type in one call.
const SERVERS_MAX: usize = 32;

/// What a call asks for by tools of this type, and by items of its input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct McpTools {
    /// The servers; each label occurs once.
    pub servers: Vec<McpServer>,
    /// `true` if no tool is to be called.
    pub is_refused: bool,
    /// The most calls of their tools; `None` for no bound of the caller.
    pub calls_max: Option<u64>,
    /// What the input says of approvals and of lists of tools.
    pub items: McpItems,
}

/// A server whose tools a call may use.
#[derive(Clone, Debug, PartialEq)]
pub struct McpServer {
    /// Its name in the settings.
    pub label: String,
    /// The tools that may be used; `None` for all of them.
    pub allowed: Option<ToolFilter>,
    /// Which calls need an approval.
    pub approval: ApprovalRule,
    /// Where the tool stands in the request, such as `tools[0]`; empty if the settings name the server.
    pub path: String,
}

impl McpServer {
    /// Creates a server of the settings: all its tools, without approvals.
    pub fn of_settings(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            allowed: None,
            approval: ApprovalRule::never(),
            path: String::new(),
        }
    }

    /// Reads a tool of this type.
    fn of_tool(mut tool: Fields<'_>) -> Result<Self, InvalidField> {
        let path = tool.path();
        tool.take("type");
        for key in CONNECTIONS {
            if tool.get(key).is_some() {
                let reason = "is not supported: the gateway connects only to the servers of its settings, which `server_label` names";
                return Err(tool.wrong(key, reason));
            }
        }
        let label = tool.require_text("server_label")?;
        // It says what the server is for; its tools say so themselves.
        tool.take("server_description");
        let allowed = match tool.take("allowed_tools") {
            None => None,
            Some(allowed) => Some(ToolFilter::read(allowed, path.key("allowed_tools"))?),
        };
        let approval = match tool.take("require_approval") {
            None => ApprovalRule::always(),
            Some(rule) => ApprovalRule::read(rule, path.key("require_approval"))?,
        };
        tool.refuse_rest()?;
        Ok(Self {
            label,
            allowed,
            approval,
            path: path.to_string(),
        })
    }

    /// Returns `true` if the call may use a tool.
    pub fn allows(&self, tool: &str, is_read_only: bool) -> bool {
        let allowed = self.allowed.as_ref();
        allowed.is_none_or(|allowed| allowed.takes(tool, is_read_only))
    }
}

impl McpTools {
    /// Adds a tool of a call.
    pub(crate) fn add(&mut self, tool: Value, path: Path<'_>) -> Result<(), InvalidField> {
        let server = McpServer::of_tool(Fields::of(tool, path)?)?;
        if self.servers.iter().any(|known| known.label == server.label) {
            let reason = "names a server twice";
            return Err(InvalidField::at(path.key("server_label"), reason));
        }
        if self.servers.len() >= SERVERS_MAX {
            let reason = format!("is one of more than {SERVERS_MAX} MCP servers");
            return Err(InvalidField::at(path, reason));
        }
        self.servers.push(server);
        Ok(())
    }

    /// Returns `true` if the call says nothing of tools of servers.
    pub fn is_empty(&self) -> bool {
        !self.is_refused && self.servers.is_empty() && self.items.approvals.is_empty()
    }

    /// Applies the `tool_choice` of a call. Returns that of the chat call, if it names these tools.
    pub(crate) fn choose(
        &mut self,
        choice: &Value,
        path: Path<'_>,
    ) -> Result<Option<Value>, InvalidField> {
        if choice == "none" {
            self.servers.clear();
            self.is_refused = true;
            return Ok(None);
        }
        match choice["type"].as_str() {
            Some(TOOL) if !self.servers.is_empty() => {
                let mut choice = Fields::of(choice.clone(), path)?;
                choice.take("type");
                let label = choice.require_text("server_label")?;
                let name = choice.take_text("name")?;
                choice.refuse_rest()?;
                if !self.servers.iter().any(|server| server.label == label) {
                    let reason = "names a server that is not among `tools`";
                    return Err(InvalidField::at(path.key("server_label"), reason));
                }
                let Some(name) = name else {
                    self.servers.retain(|server| server.label == label);
                    return Ok(Some("required".into()));
                };
                let name = tool_name(&label, &name);
                Ok(Some(
                    json!({"type": "function", "function": {"name": name}}),
                ))
            }
            Some("allowed_tools") => {
                let allowed = choice["tools"].as_array().into_iter().flatten();
                let allowed = allowed.filter(|tool| tool["type"] == TOOL);
                let allowed: Vec<&Value> = allowed.collect();
                let is_allowed = |server: &McpServer| {
                    let mut allowed = allowed.iter();
                    allowed.any(|tool| tool["server_label"] == server.label)
                };
                self.servers.retain(is_allowed);
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}

/// Returns `true` for a tool of this type.
pub(crate) fn is_mcp(tool: &Value) -> bool {
    tool["type"] == TOOL
}

/// Returns the name under which models are offered a tool of a server: characters other than letters, digits, `_` and `-` become `_`, and the first 64
/// are kept.
pub fn tool_name(label: &str, tool: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    let chars = label.chars().chain("__".chars()).chain(tool.chars());
    let chars = chars.map(|char| if is_plain(char) { char } else { '_' });
    chars.take(TOOL_NAME_MAX).collect()
}

/// Returns a tool as chat calls have it.
pub fn chat_tool(name: &str, description: &str, parameters: &Value) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), name.into());
    if !description.is_empty() {
        function.insert("description".to_owned(), description.into());
    }
    function.insert("parameters".to_owned(), parameters.clone());
    json!({"type": "function", "function": function})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(tool: &Value) -> Result<McpServer, String> {
        let mut tools = McpTools::default();
        let list = Path::Root.key("tools");
        tools
            .add(tool.clone(), list.index(2))
            .map_err(|error| error.field)?;
        Ok(tools.servers.remove(0))
    }

    #[test]
    fn a_server_is_named_by_its_label_and_no_url_is_taken() {
        let tool = json!({"type": "mcp", "server_label": "files", "server_description": "Files", "allowed_tools": ["read"]});
        let server = added(&tool).unwrap();
        assert_eq!(
            (server.label.as_str(), server.path.as_str()),
            ("files", "tools[2]")
        );
        assert!(server.allows("read", false) && !server.allows("write", false));
        assert!(server.approval.asks("read", true));
        for (key, value) in [
            ("server_url", json!("http://127.0.0.1/mcp")),
            ("connector_id", json!("connector_dropbox")),
            ("authorization", json!("x")),
            ("headers", json!({"a": "b"})),
            ("other", json!(1)),
        ] {
            let mut wrong = tool.clone();
            wrong[key] = value;
            assert_eq!(added(&wrong), Err(format!("tools[2].{key}")));
        }
        assert_eq!(
            added(&json!({"type": "mcp"})),
            Err("tools[2].server_label".to_owned())
        );
    }

    #[test]
    fn a_choice_narrows_the_servers() {
        let both = || {
            let servers = ["a", "b"].map(McpServer::of_settings);
            McpTools {
                servers: servers.to_vec(),
                ..McpTools::default()
            }
        };
        let chosen = |choice: Value| {
            let mut tools = both();
            let path = Path::Root.key("tool_choice");
            let chat = tools.choose(&choice, path).map_err(|error| error.field);
            let labels: Vec<String> = tools.servers.into_iter().map(|one| one.label).collect();
            (chat, labels.join(" "))
        };
        assert_eq!(chosen(json!("none")), (Ok(None), String::new()));
        assert_eq!(chosen(json!("auto")), (Ok(None), "a b".to_owned()));
        let named = json!({"type": "mcp", "server_label": "b"});
        assert_eq!(chosen(named), (Ok(Some(json!("required"))), "b".to_owned()));
        let tool = json!({"type": "mcp", "server_label": "b", "name": "x.y"});
        let function = json!({"type": "function", "function": {"name": "b__x_y"}});
        assert_eq!(chosen(tool), (Ok(Some(function)), "a b".to_owned()));
        let other = json!({"type": "mcp", "server_label": "c"});
        assert_eq!(chosen(other).0, Err("tool_choice.server_label".to_owned()));
        let allowed = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp", "server_label": "a"}]});
        assert_eq!(chosen(allowed), (Ok(None), "a".to_owned()));
    }

    #[test]
    fn names_are_those_that_models_accept() {
        assert_eq!(tool_name("files", "read.text"), "files__read_text");
        assert_eq!(tool_name("s", &"x".repeat(99)).len(), TOOL_NAME_MAX);
    }
}
