//! What the items of an input or of an earlier response say of tools of MCP servers.

use serde_json::Value;

use crate::translate::{Fields, InvalidField};

/// What items say of approvals and lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct McpItems {
    /// The decisions of the caller.
    pub approvals: Vec<Approval>,
    /// The calls on which a caller was asked to decide.
    pub requests: Vec<ApprovalRequest>,
    /// The labels of servers whose tools were listed.
    pub listed: Vec<String>,
}

/// A caller's decision on a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The id of the request.
    pub request: String,
    /// `true` to carry the call out.
    pub approve: bool,
    /// What the model is told about a denial.
    pub reason: Option<String>,
    /// Where it stands in the request, such as `input[0]`.
    pub path: String,
}

/// A call that needs an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The id.
    pub id: String,
    /// The label of the server.
    pub label: String,
    /// The tool.
    pub name: String,
    /// The arguments as JSON text.
    pub arguments: String,
}

impl McpItems {
    /// Reads the output of an earlier response. What is something else is passed over.
    pub fn of_output(output: &[Value]) -> Self {
        let mut items = Self::default();
        for item in output {
            let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
            match item["type"].as_str() {
                Some("mcp_list_tools") => items.listed.push(text("server_label")),
                Some("mcp_approval_request") => items.requests.push(ApprovalRequest {
                    id: text("id"),
                    label: text("server_label"),
                    name: text("name"),
                    arguments: text("arguments"),
                }),
                _ => {}
            }
        }
        items
    }

    /// Adds the requests and lists of an earlier response.
    pub fn extend(&mut self, earlier: Self) {
        self.requests.extend(earlier.requests);
        self.listed.extend(earlier.listed);
    }

    /// Returns the request with an id.
    pub fn request(&self, id: &str) -> Option<&ApprovalRequest> {
        self.requests.iter().find(|request| request.id == id)
    }

    pub(crate) fn approval(&mut self, mut item: Fields<'_>) -> Result<(), InvalidField> {
        let path = item.path().to_string();
        let request = item.require_text("approval_request_id")?;
        let Value::Bool(approve) = item.require("approve")? else {
            return Err(item.wrong("approve", "must be true or false"));
        };
        let reason = item.take_text("reason")?;
        item.refuse_rest()?;
        self.approvals.push(Approval {
            request,
            approve,
            reason,
            path,
        });
        Ok(())
    }

    pub(crate) fn asked(
        &mut self,
        id: Option<String>,
        mut item: Fields<'_>,
    ) -> Result<(), InvalidField> {
        let id = id.ok_or_else(|| item.wrong("id", "is missing"))?;
        self.requests.push(ApprovalRequest {
            id,
            label: item.require_text("server_label")?,
            name: item.require_text("name")?,
            arguments: item.require_text("arguments")?,
        });
        item.refuse_rest()
    }

    pub(crate) fn list(&mut self, mut item: Fields<'_>) -> Result<(), InvalidField> {
        self.listed.push(item.require_text("server_label")?);
        Ok(())
    }
}
