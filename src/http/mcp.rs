//! `/mcp`: the tools of MCP servers, and the gateway's own, as one server of the Model Context Protocol.
//!
//! The protocol itself is that of `kebne-mcp`. A call of a tool passes the stages as every call does, within the request that asks for it: when
//! its caller leaves, it is cancelled.

pub(super) mod admin;
mod body;
mod find;
mod job;
mod offer;
mod own;

use std::sync::Arc;

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode};
use http::{HeaderName, HeaderValue};
use kebne_mcp::{Endpoint, EndpointOptions};
use tokio::sync::mpsc;

use crate::{http::visit::Visit, state::State, surface::error::ApiError};

use body::McpBody;
use job::Job;
use offer::{Offering, Part};

/// The headers that decide how a request is answered.
const HEADERS: [&str; 2] = ["accept", "content-type"];
/// The beginning of the names of the protocol's own headers.
const OWN_HEADERS: &str = "mcp-";
/// The calls of one request: it has one.
const JOBS_MAX: usize = 4;

/// Creates the endpoint of the settings.
pub(crate) fn endpoint(state: &State) -> Endpoint {
    Endpoint::new(&EndpointOptions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instructions: state.mcp_settings.get().instructions.clone(),
        body_size_max: state.settings.get().body_size_max.as_usize(),
    })
}

/// `POST /mcp`.
pub(super) async fn answer(visit: Visit) -> Result<HttpResponse, ApiError> {
    answer_with(visit, Part::All).await
}

/// `POST /mcp/{name}`: the tools of one server, or those of an agent of the settings.
pub(super) async fn answer_in_part(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let part = Part::named(&visit, &name);
    let unknown = || ApiError::not_found(format!("there is no MCP server and no agent `{name}`"));
    let part = part.ok_or_else(unknown)?;
    answer_with(visit, part).await
}

async fn answer_with(mut visit: Visit, part: Part) -> Result<HttpResponse, ApiError> {
    if visit.headers().contains_key("content-encoding") {
        let message = "a request to `/mcp` must not be compressed";
        return Err(ApiError::unsupported_encoding(message.to_owned()));
    }
    let body = visit.body().await?;
    // The host was checked before; that of HTTP/2 is no header.
    let request = http::Request::builder().method("POST").uri("/mcp");
    let mut request = request.header("host", "localhost");
    for (name, value) in visit.headers() {
        let name = name.as_str();
        if HEADERS.contains(&name) || name.starts_with(OWN_HEADERS) {
            let name = HeaderName::try_from(name);
            let value = HeaderValue::from_bytes(value.as_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                request = request.header(name, value);
            }
        }
    }
    let request = request.body(body);
    let request = request.map_err(|error| ApiError::bad_request(None, error.to_string()))?;
    let (sender, mut jobs) = mpsc::channel::<Job>(JOBS_MAX);
    let offer = Arc::new(Offering::new(&visit, &part, sender));
    let endpoint = endpoint(&visit.state);
    let answering = endpoint.answer(request, offer);
    let working = async {
        while let Some(job) = jobs.recv().await {
            job.run(&visit).await;
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = answering => answer,
        () = working => return Err(ApiError::internal("a request has ended without an answer")),
    };
    let (head, body) = answer.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::OK);
    let mut response = HttpResponseBuilder::new(status);
    for (name, value) in &head.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    Ok(response.body(McpBody::new(body)))
}
