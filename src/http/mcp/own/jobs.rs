//! Jobs: calls to models that are carried out later.

use kebne_mcp::Tool;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http::{jobs, visit::Visit},
    surface::error::ApiError,
};

/// The arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GetArguments {
    id: String,
}

pub(super) fn create_tool() -> Tool {
    let schema = super::schema(
        &json!({
            "url": {"type": "string", "description": "The operation, such as `/v1/chat/completions`."},
            "body": {"type": "object", "description": "The body of the call, with its model."},
            "custom_id": {"type": "string"},
            "priority": {"type": "integer", "minimum": 0},
            "expires_in_seconds": {"type": "integer", "minimum": 1},
        }),
        &["url", "body"],
    );
    let about = "Queues a call to a model as a job, which is carried out when there is room.";
    Tool::own("create_job", about, schema)
}

pub(super) fn get_tool() -> Tool {
    let schema = super::schema(
        &json!({"id": {"type": "string", "description": "The id of the job."}}),
        &["id"],
    );
    Tool::own(
        "get_job",
        "Reads a job, and its answer if it has ended.",
        schema,
    )
    .read_only()
}

pub(super) async fn create(visit: &Visit, asked: &Value) -> Result<Value, ApiError> {
    jobs::create_within(visit, asked.to_string().as_bytes()).await
}

pub(super) async fn get(visit: &Visit, asked: GetArguments) -> Result<Value, ApiError> {
    jobs::read_within(visit, &asked.id).await
}
