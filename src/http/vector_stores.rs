//! Collections of documents as `OpenAI`'s vector stores. Each belongs to the tenant that created it; for all others it does not exist.

pub(super) mod batches;
pub(super) mod documents;
mod fields;
pub(super) mod members;
pub(super) mod search;
pub(super) mod stores;

use actix_web::web::Query;
use kebne_collections::Page;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    http::{json_body, list_query, visit::Visit},
    surface::error::ApiError,
};

/// The largest body of a request without files.
const BODY_MAX: usize = 1 << 20;
/// The largest and the default number of items in one answer.
const PAGE: (usize, usize) = (100, 20);

/// The wanted part of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    /// Read as text, so that an error names the key.
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    order: Option<String>,
}

/// The wanted part of a list of files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Read as text, so that an error names the key.
    limit: Option<String>,
    after: Option<String>,
    before: Option<String>,
    order: Option<String>,
    filter: Option<String>,
}

/// The query of an operation that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

impl ListQuery {
    fn page(self) -> Result<kebne_collections::PageQuery, ApiError> {
        let page = PageQuery {
            limit: self.limit,
            after: self.after,
            before: self.before,
            order: self.order,
        };
        page.page()
    }
}

impl PageQuery {
    fn page(self) -> Result<kebne_collections::PageQuery, ApiError> {
        let oldest_first = match self.order.as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => {
                let message = "`order` must be `asc` or `desc`";
                return Err(ApiError::bad_request(Some("order"), message));
            }
        };
        Ok(kebne_collections::PageQuery {
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

/// Reads a query.
fn query_of<T: DeserializeOwned>(visit: &Visit) -> Result<T, ApiError> {
    let query = Query::<T>::from_query(visit.http.query_string());
    query.map(Query::into_inner).map_err(|error| {
        let text = error.to_string();
        let reason = text.strip_prefix("Query deserialize error: ");
        let reason = reason.unwrap_or(&text);
        // All values are texts, so that only a name can be wrong.
        let name = reason.split('`').nth(1);
        ApiError::bad_request(name, format!("the query is not valid: {reason}"))
    })
}

/// Checks that a request has no query.
fn no_query(visit: &Visit) -> Result<(), ApiError> {
    query_of::<NoQuery>(visit).map(|NoQuery {}| ())
}

/// Reads the JSON object in a body; an empty body is an empty object. Such a request has no query.
async fn body_of<T: DeserializeOwned>(visit: &mut Visit) -> Result<T, ApiError> {
    no_query(visit)?;
    let body = visit.body_of_at_most(BODY_MAX).await?;
    json_body::object(&body)
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
