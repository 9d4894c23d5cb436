//! A call of an operation without a model: through the lane of its backend, so that it is admitted, queued and bounded
//! like all others.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use kebne_lane::{CallOptions, Ending};
use kebne_wire::{
    Direct, PassThrough,
    request::{Endpoint, ModelRequest},
};

use crate::{
    caller::Caller,
    llm::ModelBody,
    stages::{deadline, share, trace},
    state::State,
    surface::error::ApiError,
    via,
};

/// What is sent to a backend.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The operation.
    pub(crate) direct: Direct,
    /// The body, and its content type if it is not JSON.
    pub(crate) body: Bytes,
    /// The content type of a body that is not JSON.
    pub(crate) form: Option<Arc<str>>,
    /// The id of the request.
    pub(crate) request_id: Arc<str>,
}

/// Calls a backend; returns the content type and the body of its answer.
///
/// # Errors
/// Returns an error if a header is wrong, the call was sent by this process, the lane refuses the call, or the backend fails.
pub(crate) async fn call(
    state: &State,
    headers: &HeaderMap,
    caller: &Caller,
    backend: &str,
    sent: Sent,
) -> Result<(String, Bytes), ApiError> {
    if via::names_this_process(headers) {
        return Err(ApiError::loop_detected());
    }
    let share = share::of(headers, caller)?;
    let deadline = deadline::of(headers, &state.settings.get())?;
    let is_repeatable = sent.direct.method.is_safe();
    let endpoint = Endpoint::PassThrough(PassThrough::Direct);
    let mut request = ModelRequest::new(endpoint, sent.body, 0..0, sent.request_id);
    request.form = sent.form;
    request.headers = trace::gateways(headers);
    request.direct = Some(sent.direct);
    let options = CallOptions {
        bytes: u64::try_from(request.body.len()).unwrap_or(u64::MAX),
        tenant: share.tenant,
        priority: share.priority,
        weight: share.weight,
        refuse_when_cold: share.refuse_when_cold,
        ..CallOptions::within(deadline.time).in_place()
    };
    let options = if is_repeatable {
        options.idempotent()
    } else {
        options
    };
    let reply = state.gateway.call_backend(backend, request, options).await;
    let reply = reply.map_err(|error| ApiError::from_gateway(&error))?;
    let (response, guard) = reply.reply.into_parts();
    if let ModelBody::Opaque(content_type, body) = response.body {
        guard.finish(Ending::Success);
        return Ok((content_type, body));
    }
    guard.finish(Ending::Error);
    Err(ApiError::upstream("the backend's answer cannot be read"))
}
