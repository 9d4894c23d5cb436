//! `POST /v1/vector_stores/{id}/documents`: imports files by their names in one request. It is not part of `OpenAI`'s API.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, body::BoxBody, http::header::CONTENT_TYPE};
use bytes::Bytes;
use kebne_collections::{Attributes, Document, Member, MemberDetails, Rules};
use kebne_wire::multipart::Form;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    fields::{self, ChunkingStrategy},
    members, no_query, parameter,
};
use crate::{
    http::{
        own_files,
        visit::{self, Visit},
    },
    sources::object::AttributeFields,
    surface::error::ApiError,
};

/// The greatest length of a document's name with its folders, in bytes.
const PATH_MAX: usize = 1024;
/// The fields of a form.
const FIELDS: [&str; 3] = ["file", "attributes", "chunking_strategy"];

/// What a form asks for.
struct Wanted {
    /// The documents, each with another name.
    documents: Vec<(String, Bytes)>,
    /// The attributes of all; `None` leaves those of documents that are there.
    attributes: Option<Attributes>,
    /// How all are cut; `None` leaves the rules of documents that are there.
    rules: Option<Rules>,
}

/// Returns the name of a document with its folders, by which it is known in its vector store: `docs/a/x.md` and `docs/b/x.md` are two.
fn document_path(name: &str) -> Result<String, ApiError> {
    let parts = name.split(['/', '\\']);
    let parts: Vec<&str> = parts.filter(|part| !matches!(*part, "" | ".")).collect();
    let path = parts.join("/");
    let is_fine = !path.is_empty() && path.len() <= PATH_MAX && !parts.contains(&"..");
    if !is_fine || path.chars().any(char::is_control) {
        let message = format!(
            "the name of a document has 1 to {PATH_MAX} bytes, no control characters and no `..`"
        );
        return Err(wrong("file", message));
    }
    Ok(path)
}

fn wrong(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::bad_request(Some(param), message)
}

impl Wanted {
    fn of_form(form: &Form, size_max: usize) -> Result<Self, ApiError> {
        own_files::check_fields(form, &FIELDS)?;
        let mut documents = Vec::new();
        let mut names = BTreeSet::new();
        for (name, content) in form.files("file") {
            let path = document_path(name)?;
            if content.len() > size_max {
                return Err(ApiError::file_too_large(&path, size_max));
            }
            if !names.insert(path.clone()) {
                let message = format!("the form has two documents with the name `{path}`");
                return Err(wrong("file", message));
            }
            documents.push((path, content));
        }
        let parts = form.names().filter(|(name, _)| *name == "file").count();
        if documents.is_empty() || documents.len() < parts {
            let message = "the form must have files named `file`, each with a name of its own";
            return Err(wrong("file", message));
        }
        let attributes: Option<AttributeFields> = json_field(form, "attributes")?;
        let attributes = attributes.map(|fields| fields::attributes(Some(fields)));
        let strategy: Option<ChunkingStrategy> = json_field(form, "chunking_strategy")?;
        let rules = strategy.map(|strategy| fields::rules(Some(&strategy)));
        Ok(Self {
            documents,
            attributes: attributes.transpose()?,
            rules: rules.transpose()?,
        })
    }
}

/// Reads a field whose value is JSON.
fn json_field<T: DeserializeOwned>(form: &Form, name: &str) -> Result<Option<T>, ApiError> {
    let Some(text) = own_files::text_field(form, name)? else {
        return Ok(None);
    };
    let value = serde_json::from_str(text).map_err(|error| {
        let message = format!("the field `{name}` is not valid: {error}");
        wrong(name, message)
    });
    value.map(Some)
}

/// Reads a form whose files are named `file`. A file takes the place of the one of the same name; one that is the same stays as it is.
pub(in crate::http) async fn import(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
    let id = parameter(&visit, "id");
    // Before the body is read, which may be large.
    visit
        .state
        .collections
        .collection(visit.owner(), &id)
        .await?;
    let body = visit.body().await?;
    let kind = visit
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let form = Form::read(kind.unwrap_or_default(), body);
    let form = form.map_err(|error| ApiError::bad_request(None, error.to_string()))?;
    let size_max = visit.state.collections.settings().file_size_max.as_usize();
    let mut wanted = Wanted::of_form(&form, size_max)?;
    visit.pays();
    let documents = std::mem::take(&mut wanted.documents);
    let mut data: Vec<Value> = Vec::with_capacity(documents.len());
    for (name, content) in documents {
        match keep(&visit, &id, &wanted, (name, content)).await {
            Ok(shown) => data.push(shown),
            Err(error) if data.is_empty() => return Err(error),
            Err(error) => return Ok(broken_off(&visit, error, &data)),
        }
    }
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data, "has_more": false})))
}

/// Imports one document.
async fn keep(
    visit: &Visit,
    id: &str,
    wanted: &Wanted,
    (name, content): (String, Bytes),
) -> Result<Value, ApiError> {
    let (collections, owner) = (&visit.state.collections, visit.owner());
    let document = Document {
        name,
        content: content.to_vec(),
    };
    let imported = collections.import(owner, id, document).await?;
    let member = with_details(visit, id, wanted, imported.member).await?;
    let mut shown = members::shown(id, &member);
    shown["filename"] = imported.name.into();
    shown["unchanged"] = imported.is_unchanged.into();
    Ok(shown)
}

/// Gives a document the attributes and the rules of the form.
async fn with_details(
    visit: &Visit,
    id: &str,
    wanted: &Wanted,
    member: Member,
) -> Result<Member, ApiError> {
    let (collections, owner) = (&visit.state.collections, visit.owner());
    let attributes = wanted.attributes.clone();
    let attributes = attributes.unwrap_or_else(|| member.details.attributes.clone());
    if wanted
        .rules
        .is_some_and(|rules| rules != member.details.rules)
    {
        let details = MemberDetails {
            attributes,
            rules: wanted.rules.unwrap_or(member.details.rules),
            failure: None,
        };
        // It is read again with the other rules.
        let added = collections.add_member(owner, id, &member.file, details);
        return Ok(added.await?);
    }
    if attributes == member.details.attributes {
        return Ok(member);
    }
    let set = collections.set_attributes(owner, id, &member.file, attributes);
    Ok(set.await?)
}

/// Returns the answer to an import that failed after some of its documents were kept: the error, with the ids of these.
fn broken_off(visit: &Visit, error: ApiError, kept: &[Value]) -> HttpResponse {
    let mut body = error.body();
    let ids: Vec<&Value> = kept.iter().map(|document| &document["id"]).collect();
    body["error"]["kept_file_ids"] = json!(ids);
    let response = visit::respond(&visit.http, Err(error));
    response.set_body(BoxBody::new(body.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_two_folders_are_two() {
        let of = |name| document_path(name).ok();
        assert_eq!(of("docs/a/x.md").as_deref(), Some("docs/a/x.md"));
        assert_eq!(of("/docs//./b\\x.md").as_deref(), Some("docs/b/x.md"));
        for wrong in ["", "/", "a/../x.md", "a\nb", &"x".repeat(1025)] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
