//! What is kept of a tenant or of one of its users, and its erasure.

mod export;

use std::sync::Arc;

use actix_web::{HttpResponse, web::Data};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    audit_log,
    http::{request_id, visit::Visit},
    privacy::{self, Asker, Who, Whose},
    settings::server::Scope,
    surface::error::ApiError,
};

pub(super) use export::export;

/// The longest name of a user, as of other metadata.
const USER_MAX: usize = 512;
/// The largest report that is checked, in bytes.
const REPORT_MAX: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    tenant: Option<String>,
    user: Option<String>,
}

/// Returns whose data a request is about. Another tenant's is for administrators.
fn whose(visit: &Visit) -> Result<Whose, ApiError> {
    let Query { tenant, user } = visit.query()?;
    let tenant = match tenant {
        Some(tenant) if tenant != visit.owner() => {
            visit.caller.require(Scope::Admin)?;
            tenant
        }
        _ => visit.owner().to_owned(),
    };
    if tenant.chars().any(char::is_control) {
        let message = "`tenant` must be the name of a tenant";
        return Err(ApiError::bad_request(Some("tenant"), message));
    }
    let is_fine = |user: &String| !user.is_empty() && user.chars().count() <= USER_MAX;
    if user.as_ref().is_some_and(|user| !is_fine(user)) {
        let message = format!("`user` must be a text of 1 to {USER_MAX} characters");
        return Err(ApiError::bad_request(Some("user"), message));
    }
    Ok(Whose { tenant, user })
}

fn asker(visit: &Visit) -> Asker {
    Asker {
        state: Data::clone(&visit.state),
        headers: visit.headers().clone(),
        caller: Arc::clone(&visit.caller),
        request_id: request_id::of(&visit.http),
    }
}

/// `GET /v1/privacy/data`.
pub(super) async fn show(visit: Visit) -> Result<HttpResponse, ApiError> {
    let whose = whose(&visit)?;
    let mut data = Vec::new();
    for store in privacy::stores(&asker(&visit)) {
        let covered = whose.user.is_none() || store.knows_users();
        let mut shown = json!({"store": store.name(), "covered": covered});
        if covered {
            let kept = store.count(&whose).await?;
            let is_encrypted = kept.has_key;
            shown["kept"] = json!(kept);
            shown["has_key"] = is_encrypted.into();
        }
        data.push(shown);
    }
    Ok(HttpResponse::Ok().json(json!({
        "object": "privacy.data", "tenant": whose.tenant, "user": whose.user, "stores": data,
        "export": "/v1/privacy/export",
    })))
}

/// `DELETE /v1/privacy/data`.
pub(super) async fn erase(visit: Visit) -> Result<HttpResponse, ApiError> {
    let whose = whose(&visit)?;
    let asker = asker(&visit);
    let who = Who {
        key: visit.caller.name.clone(),
        request_id: asker.request_id.to_string(),
        master: visit.state.gateway.master_key().cloned(),
    };
    // It goes on if the caller leaves.
    let erased = actix_rt::spawn(async move {
        let stores = privacy::stores(&asker);
        let report = privacy::erase(&stores, &whose, &who).await?;
        audit_log::erased(report.value());
        Ok::<_, ApiError>(report)
    });
    let report = erased.await;
    let report = report.map_err(|_| ApiError::internal("the erasure has ended early"))??;
    Ok(HttpResponse::Ok().json(report.value()))
}

/// `POST /v1/privacy/verify`: whether this gateway has signed a report.
pub(super) async fn verify(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let body = visit.body_of_at_most(REPORT_MAX).await?;
    let report: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(None, format!("the body is not JSON: {error}")))?;
    let Some(master) = visit.state.gateway.master_key() else {
        let message = "without a key (`context.key_env`) reports are not signed";
        return Err(ApiError::bad_request(None, message));
    };
    let is_valid = privacy::has_signed(master, &report);
    let shown = json!({"object": "privacy.verification", "valid": is_valid, "id": report["id"]});
    Ok(HttpResponse::Ok().json(shown))
}
