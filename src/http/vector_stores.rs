//! Collections of documents as `OpenAI`'s vector stores. Each belongs to the tenant that created it; for all others it does not exist.

pub(super) mod documents;
mod fields;
pub(super) mod members;
pub(super) mod search;
pub(super) mod stores;

use kebne_collections::{Page, PageQuery};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    http::{list_query, visit::Visit},
    surface::error::ApiError,
};

/// The largest body of a request without files.
const BODY_MAX: usize = 1 << 20;
/// The largest and the default number of items in one answer.
const PAGE: (usize, usize) = (100, 20);

/// The wanted part of a list.
#[derive(Debug, Deserialize)]
struct ListQuery {
    /// Read as text, so that an error names the key.
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    order: Option<String>,
    filter: Option<String>,
}

impl ListQuery {
    fn page(self) -> Result<PageQuery, ApiError> {
        let oldest_first = match self.order.as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => {
                let message = "`order` must be `asc` or `desc`";
                return Err(ApiError::bad_request(Some("order"), message));
            }
        };
        Ok(PageQuery {
            limit: list_query::limit(self.limit, PAGE.0, PAGE.1)?,
            after: self.after.filter(|id| !id.is_empty()),
            before: self.before.filter(|id| !id.is_empty()),
            oldest_first,
        })
    }
}

/// Returns a page as a list.
fn listed(page: &Page<Value>) -> Value {
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    json!({
        "object": "list",
        "data": page.items,
        "first_id": id(page.items.first()),
        "last_id": id(page.items.last()),
        "has_more": page.has_more,
    })
}

/// Reads the JSON object in a body; an empty body is an empty object.
async fn body_of<T: DeserializeOwned>(visit: &mut Visit) -> Result<T, ApiError> {
    let body = visit.body_of_at_most(BODY_MAX).await?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    // The parser would accept a list as the fields in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::bad_request(None, "the body is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not valid: {error}");
        ApiError::bad_request(None, message)
    })
}

/// Returns a parameter in the path.
fn parameter(visit: &Visit, name: &str) -> String {
    visit
        .http
        .match_info()
        .get(name)
        .unwrap_or_default()
        .to_owned()
}
