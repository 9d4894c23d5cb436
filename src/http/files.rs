//! Files and batches of backends that have them, and those that are kept and carried out here (`own_files`, `own_batches`). Each belongs to the tenant that created it.
//!
//! A batch may name any model of its backend, so that keys which may call only some models have neither.

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    http::{
        Method,
        header::{CONTENT_TYPE, HeaderValue},
    },
};
use bytes::Bytes;
use kebne_wire::Direct;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http::{
        kept::Parts,
        list_query, own_batches,
        own_files::{self, Elsewhere},
        request_id,
        visit::Visit,
    },
    objects::{Object, ObjectKind},
    settings::Api,
    stages::direct::{self, Sent},
    surface::error::ApiError,
};

/// Objects of one list: each is asked for at its backend.
const PAGE_MAX: usize = 20;
/// Files of one list that are kept here.
const OWN_PAGE_MAX: usize = 1000;
/// The largest number of objects that the API lets callers ask for.
const LIMIT_MAX: usize = 10_000;
/// The members of a batch that are ids of files.
const FILES_OF_BATCH: [&str; 3] = ["input_file_id", "output_file_id", "error_file_id"];

/// Which part of a list is wanted.
#[derive(Debug, Deserialize)]
struct PageQuery {
    /// Read as text, so that an error names the key.
    limit: Option<String>,
    after: Option<String>,
    order: Option<String>,
    purpose: Option<String>,
}

impl PageQuery {
    /// Returns `true` if the oldest are wanted first.
    fn is_oldest_first(&self) -> Result<bool, ApiError> {
        match self.order.as_deref() {
            None | Some("desc") => Ok(false),
            Some("asc") => Ok(true),
            Some(_) => {
                let message = "`order` must be `asc` or `desc`";
                Err(ApiError::bad_request(Some("order"), message))
            }
        }
    }
}

/// One request of a caller who may have files.
struct Desk {
    visit: Visit,
}

impl Desk {
    fn open(visit: Visit) -> Result<Self, ApiError> {
        if !visit.caller.may_call_all() {
            let message = "keys that may call only some models have no files and batches";
            return Err(ApiError::not_allowed("authorization", message));
        }
        Ok(Self { visit })
    }

    /// Checks that the caller may create batches. What a batch uses is known only to its backend, and nobody reads its texts
    /// on their way.
    fn require_batches(&self) -> Result<(), ApiError> {
        let caller = &self.visit.caller;
        let refuse = |message: &str| Err(ApiError::not_allowed("authorization", message));
        if caller.needs_usage {
            return refuse("keys with a budget or a limit of tokens have no batches");
        }
        if !caller.guards.is_empty() || self.visit.state.guards.get().guards_models() {
            return refuse("keys and models with guards have no batches");
        }
        Ok(())
    }

    /// Returns an object of the caller.
    async fn find(&self, kind: ObjectKind, id: &str) -> Result<Object, ApiError> {
        let objects = &self.visit.state.objects;
        let found = objects.find(self.visit.owner(), kind, id);
        let missing = || ApiError::not_found("there is no such file or batch");
        found.await?.ok_or_else(missing)
    }

    /// Calls a backend.
    async fn call(
        &self,
        backend: &str,
        method: Method,
        path: &str,
        body: Bytes,
        form: Option<&str>,
    ) -> Result<(String, Bytes), ApiError> {
        let method = http::Method::from_bytes(method.as_str().as_bytes());
        let sent = Sent {
            direct: Direct {
                method: method.unwrap_or_default(),
                path: Arc::from(path),
                is_content: path.ends_with("/content"),
            },
            body,
            form: form.map(Arc::from),
            request_id: request_id::of(&self.visit.http),
        };
        let (headers, caller) = (self.visit.headers(), &self.visit.caller);
        direct::call(&self.visit.state, headers, caller, backend, sent).await
    }

    /// Calls a backend without a body and returns the object of its answer under the ids of this service.
    async fn object(
        &self,
        kind: ObjectKind,
        object: &Object,
        method: Method,
        more: &str,
    ) -> Result<Value, ApiError> {
        let path = format!("{}/{}{more}", folder(kind), object.upstream);
        let called = self.call(&object.backend, method, &path, Bytes::new(), None);
        let (_, body) = called.await?;
        self.labelled(kind, &object.backend, &body).await
    }

    /// Puts the ids of this service into an object of a backend.
    async fn labelled(
        &self,
        kind: ObjectKind,
        backend: &str,
        body: &[u8],
    ) -> Result<Value, ApiError> {
        let unreadable = || ApiError::upstream("the backend's answer cannot be read");
        let mut object: Value = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let members = object.as_object_mut().ok_or_else(unreadable)?;
        if members
            .get("id")
            .and_then(Value::as_str)
            .is_none_or(|id| !is_id(id))
        {
            return Err(unreadable());
        }
        let files = FILES_OF_BATCH.iter().filter(|_| kind == ObjectKind::Batch);
        let ids = files
            .map(|key| (*key, ObjectKind::File))
            .chain([("id", kind)]);
        for (key, kind) in ids {
            let Some(id) = members
                .get(key)
                .and_then(Value::as_str)
                .filter(|id| is_id(id))
            else {
                continue;
            };
            let objects = &self.visit.state.objects;
            let own = objects
                .remember(self.visit.owner(), kind, backend, id)
                .await?;
            members.insert(key.to_owned(), own.into());
        }
        Ok(object)
    }

    async fn list(&self, kind: ObjectKind, page: PageQuery) -> Result<Value, ApiError> {
        let limit = list_query::limit(page.limit, LIMIT_MAX, PAGE_MAX)?.min(PAGE_MAX);
        let objects = &self.visit.state.objects;
        let part = objects
            .list(self.visit.owner(), kind, page.after, limit)
            .await
            .map_err(list_query::error)?;
        let mut data = Vec::with_capacity(part.items.len());
        for object in &part.items {
            match self.object(kind, object, Method::GET, "").await {
                Ok(object) => data.push(object),
                // It is gone at its backend.
                Err(error) if error.status() == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let id = |object: Option<&Object>| object.map(|object| object.id.clone());
        Ok(json!({
            "object": "list", "data": data, "has_more": part.has_more,
            "first_id": id(part.items.first()), "last_id": id(part.items.last()),
        }))
    }
}

/// Returns the path of all objects of a kind.
fn folder(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::File => "files",
        ObjectKind::Batch => "batches",
    }
}

/// Returns `true` if a backend's id can stand in a path.
fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !id.is_empty() && id.len() <= 256 && id.bytes().all(is_plain)
}

/// `POST /v1/files`: kept here if it is to be searched, and else to the first backend that has files.
pub(super) async fn upload(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let body = visit.body().await?;
    let state = visit.state.clone();
    let backend = state.gateway.backend_with(Api::Files);
    match own_files::form_of(&visit, &body) {
        Ok(form) if own_files::keeps(&form, Elsewhere::of(&visit)) => {
            return own_files::keep(&visit, &form).await;
        }
        // A backend that has files checks the form itself.
        form if backend.is_none() => own_files::check_purpose(&form?)?,
        _ => {}
    }
    let desk = Desk::open(visit)?;
    let backend = backend.ok_or_else(|| ApiError::not_found("no backend has files"))?;
    let form = desk.visit.headers().get(CONTENT_TYPE);
    let form = form.and_then(|form| form.to_str().ok()).map(str::to_owned);
    let called = desk.call(&backend, Method::POST, "files", body, form.as_deref());
    let (_, body) = called.await?;
    let file = desk.labelled(ObjectKind::File, &backend, &body).await?;
    Ok(HttpResponse::Ok().json(file))
}

/// `GET /v1/files`: those that are kept here, then those of backends.
pub(super) async fn files(visit: Visit) -> Result<HttpResponse, ApiError> {
    let query: PageQuery = visit.query()?;
    let oldest_first = query.is_oldest_first()?;
    let elsewhere = Elsewhere::of(&visit);
    let limit = list_query::limit(query.limit.clone(), LIMIT_MAX, PAGE_MAX)?.min(OWN_PAGE_MAX);
    let is_of_backend = query
        .after
        .as_ref()
        .is_some_and(|after| !own_files::is_own(after));
    let is_elsewhere = elsewhere.files
        && query
            .purpose
            .as_deref()
            .is_some_and(|purpose| !elsewhere.leaves(purpose));
    if is_of_backend || is_elsewhere {
        return listed(visit, ObjectKind::File).await;
    }
    let page = kebne_collections::PageQuery {
        limit,
        after: query.after,
        before: None,
        oldest_first,
    };
    let is_own_only = !elsewhere.files || query.purpose.is_some();
    let visit = if is_own_only {
        visit
    } else {
        Desk::open(visit)?.visit
    };
    let part = own_files::page(&visit, page, query.purpose).await?;
    let (mut data, mut has_more) = (part.items, part.has_more);
    if !has_more && !is_own_only {
        let desk = Desk::open(visit)?;
        let rest = PageQuery {
            limit: None,
            after: None,
            order: None,
            purpose: None,
        };
        let mut rest = desk.list(ObjectKind::File, rest).await?;
        has_more = rest["has_more"] == true;
        if let Some(Value::Array(rest)) = rest.get_mut("data").map(Value::take) {
            data.extend(rest);
        }
    }
    let id = |file: Option<&Value>| file.map(|file| file["id"].clone());
    Ok(HttpResponse::Ok().json(json!({
        "object": "list", "has_more": has_more,
        "first_id": id(data.first()), "last_id": id(data.last()), "data": data,
    })))
}

/// `GET /v1/batches`: those that are carried out here, then those of backends.
pub(super) async fn batches(visit: Visit) -> Result<HttpResponse, ApiError> {
    let query: PageQuery = visit.query()?;
    let after = query.after.as_ref();
    if after.is_some_and(|after| !own_batches::is_own(after)) {
        return listed(visit, ObjectKind::Batch).await;
    }
    query.is_oldest_first()?;
    let limit = list_query::limit(query.limit, LIMIT_MAX, PAGE_MAX)?.min(OWN_PAGE_MAX);
    let part = own_batches::page(&visit, limit, query.after).await?;
    let (mut data, mut has_more) = (part.items, part.has_more);
    let is_elsewhere = Elsewhere::of(&visit).batches && visit.caller.may_call_all();
    if !has_more && is_elsewhere {
        let rest = PageQuery {
            limit: None,
            after: None,
            order: None,
            purpose: None,
        };
        let mut rest = Desk::open(visit)?.list(ObjectKind::Batch, rest).await?;
        has_more = rest["has_more"] == true;
        if let Some(Value::Array(rest)) = rest.get_mut("data").map(Value::take) {
            data.extend(rest);
        }
    }
    let id = |batch: Option<&Value>| batch.map(|batch| batch["id"].clone());
    Ok(HttpResponse::Ok().json(json!({
        "object": "list", "has_more": has_more,
        "first_id": id(data.first()), "last_id": id(data.last()), "data": data,
    })))
}

async fn listed(visit: Visit, kind: ObjectKind) -> Result<HttpResponse, ApiError> {
    let desk = Desk::open(visit)?;
    let query: PageQuery = desk.visit.query()?;
    query.is_oldest_first()?;
    let list = desk.list(kind, query).await?;
    Ok(HttpResponse::Ok().json(list))
}

/// `GET /v1/files/{id}`.
pub(super) async fn file(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    if own_files::is_own(&id) {
        return own_files::read(&visit, &id).await;
    }
    shown(visit, ObjectKind::File, Method::GET, "").await
}

/// `GET /v1/batches/{id}`.
pub(super) async fn batch(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    if own_batches::is_own(&id) {
        return own_batches::read(&visit, &id).await;
    }
    shown(visit, ObjectKind::Batch, Method::GET, "").await
}

/// `POST /v1/batches/{id}/cancel`.
pub(super) async fn cancel(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    if own_batches::is_own(&id) {
        return own_batches::cancel(&visit, &id).await;
    }
    shown(visit, ObjectKind::Batch, Method::POST, "/cancel").await
}

async fn shown(
    visit: Visit,
    kind: ObjectKind,
    method: Method,
    more: &str,
) -> Result<HttpResponse, ApiError> {
    let desk = Desk::open(visit)?;
    let object = desk.find(kind, &desk.visit.parameter()).await?;
    let shown = desk.object(kind, &object, method, more).await?;
    Ok(HttpResponse::Ok().json(shown))
}

/// `GET /v1/files/{id}/content`.
pub(super) async fn content(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    if own_files::is_own(&id) {
        return own_files::content(&visit, &id).await;
    }
    let desk = Desk::open(visit)?;
    let object = desk.find(ObjectKind::File, &id).await?;
    let path = format!("files/{}/content", object.upstream);
    let called = desk.call(&object.backend, Method::GET, &path, Bytes::new(), None);
    let (content_type, body) = called.await?;
    let mut answer = HttpResponse::Ok();
    if let Ok(content_type) = HeaderValue::from_str(&content_type) {
        answer.insert_header((CONTENT_TYPE, content_type));
    }
    Ok(answer.body(Parts::of(body)))
}

/// `DELETE /v1/files/{id}`.
pub(super) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    if own_files::is_own(&id) {
        return own_files::remove(&visit, &id).await;
    }
    let desk = Desk::open(visit)?;
    let object = desk.find(ObjectKind::File, &id).await?;
    let path = format!("files/{}", object.upstream);
    let called = desk.call(&object.backend, Method::DELETE, &path, Bytes::new(), None);
    called.await?;
    let objects = &desk.visit.state.objects;
    objects
        .forget(desk.visit.owner(), ObjectKind::File, &object.id)
        .await?;
    let gone = json!({"id": object.id, "object": "file", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

/// `POST /v1/batches`: carried out here if the file is kept here, and else by the backend that holds it.
pub(super) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let body = visit.body().await?;
    let wrong = |message: &str| ApiError::bad_request(Some("input_file_id"), message);
    let mut batch: Value = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(None, format!("the body is not valid JSON: {error}"))
    })?;
    let id = batch["input_file_id"].as_str();
    let id = id.ok_or_else(|| wrong("`input_file_id` must be the id of a file"))?;
    if own_files::is_own(id) {
        return own_batches::create(&visit, &body).await;
    }
    let desk = Desk::open(visit)?;
    desk.require_batches()?;
    let state = &desk.visit.state;
    let objects = &state.objects;
    let file = objects
        .find(desk.visit.owner(), ObjectKind::File, id)
        .await?;
    let file = file.ok_or_else(|| wrong("there is no such file"))?;
    if !state.gateway.has(&file.backend, Api::Batches) {
        let message = "the backend of this file has no batches";
        return Err(ApiError::not_found(message));
    }
    batch["input_file_id"] = file.upstream.into();
    let sent = batch.to_string().into();
    let called = desk.call(&file.backend, Method::POST, "batches", sent, None);
    let (_, body) = called.await?;
    let batch = desk
        .labelled(ObjectKind::Batch, &file.backend, &body)
        .await?;
    Ok(HttpResponse::Ok().json(batch))
}
