//! Queues a call as a job, after what can be checked at once is checked.

use std::{sync::Arc, time::Duration};

use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use bytes::Bytes;
use kebne_jobs::{Job, JobQueue as _, NewJob};
use sha2::{Digest as _, Sha256};

use crate::{
    caller::Caller,
    http::visit::require_model,
    jobs::{JobRequest, RequestHead, Webhook, kept},
    state::State,
    surface::{Surface, error::ApiError},
};

/// The header with the idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest idempotency key.
const KEY_MAX: usize = 255;

/// A call that is to be queued.
pub(super) struct Wish {
    pub(super) surface: &'static dyn Surface,
    /// The path of the operation.
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) custom_id: Option<String>,
    /// The priority among the jobs; `None` for that of the settings.
    pub(super) priority: Option<u8>,
    /// The time for it; `None` for that of the settings.
    pub(super) lifetime: Option<Duration>,
    /// Where a notice of its end is sent.
    pub(super) webhook: Option<Webhook>,
    /// The digest of the idempotency key.
    pub(super) idempotency: Option<String>,
}

/// Returns the idempotency key of a request.
///
/// # Errors
/// Returns a 400 if it is empty, longer than 255 bytes, or not plain text.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().ok();
    let key = key.filter(|key| (1..=KEY_MAX).contains(&key.len()));
    let message = format!("`{IDEMPOTENCY_KEY}` has 1 to {KEY_MAX} printable characters");
    let wrong = || ApiError::bad_request(Some(IDEMPOTENCY_KEY), message);
    key.map(Some).ok_or_else(wrong)
}

/// Returns the digest of an idempotency key, by which the store finds its job. The store does not hold the key itself.
pub(super) fn digest(owner: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(owner.len().to_le_bytes());
    hash.update(owner);
    hash.update(key);
    hex::encode(hash.finalize())
}

/// Queues a call.
pub(super) async fn queue(
    state: &State,
    caller: &Caller,
    wish: Wish,
    request_id: Arc<str>,
) -> Result<Job, ApiError> {
    // A compressed body is read when the call is made.
    if !wish.headers.contains_key(CONTENT_ENCODING) {
        let (surface, body) = (wish.surface, wish.body.clone());
        let kind = wish.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let size = body.len();
        let read = move || surface.read(body, kind.as_deref(), request_id);
        let reading = state.off_loop.read(size, read).await??;
        require_model(state, caller, &reading.parsed.model)?;
    }
    let settings = state.jobs.settings();
    let notify = wish.webhook.map(|webhook| webhook.checked(settings));
    let routed_by = state.routes.headers_of(&wish.headers);
    let request = JobRequest {
        head: RequestHead {
            url: wish.url,
            key: caller.id.clone(),
            custom_id: wish.custom_id,
            headers: kept(&wish.headers, routed_by),
        },
        body: wish.body,
    };
    let job = NewJob {
        request: request.to_bytes(),
        label: String::new(),
        priority: wish.priority.unwrap_or(settings.priority),
        lifetime: wish.lifetime.unwrap_or(settings.expires_after.0),
        idempotency: wish.idempotency,
        notify: notify.transpose()?,
    };
    let (job, _is_new) = state.jobs.enqueue(&caller.owner, job).await?;
    Ok(job)
}
