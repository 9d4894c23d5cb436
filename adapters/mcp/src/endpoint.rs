//! The endpoint at which tools and resources are offered, in both eras of the protocol.
//!
//! It holds nothing between two requests: what is offered to a caller comes with each of them. Clients of the era of sessions are served
//! without one, which that era permits.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http_body_util::{Full, combinators::BoxBody};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorCode,
        Implementation, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceContents,
        ResultType, ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde_json::Value;

use crate::tool::{Tool, ToolCall};

/// The body of an answer.
pub type AnswerBody = BoxBody<Bytes, Infallible>;

/// Work that somebody else does.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The ending of a call without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnding {
    /// The tool or the resource does not exist, or the caller must not use it.
    Unknown(String),
    /// The arguments do not fit.
    Invalid(String),
    /// It was refused or has failed, in words for the model.
    Failed(String),
}

/// A resource that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its URI.
    pub uri: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
}

/// What one caller is offered.
pub trait Offer: Send + Sync {
    /// Returns the tools, each under the name by which it is called.
    fn tools(&self) -> Vec<(String, Arc<Tool>)>;

    /// Calls a tool. The result is that of MCP, as JSON.
    fn call(&self, call: ToolCall) -> Pending<Result<Value, CallEnding>>;

    /// Returns the resources.
    fn resources(&self) -> Vec<Resource>;

    /// Reads a resource. Its text is JSON.
    fn read(&self, uri: &str) -> Pending<Result<String, CallEnding>>;
}

/// How the endpoint shows itself.
#[derive(Clone, Debug)]
pub struct EndpointOptions {
    /// The version of the program.
    pub version: String,
    /// What models read about the endpoint; empty for nothing.
    pub instructions: String,
    /// The largest body of a request, in bytes.
    pub body_size_max: usize,
}

/// The endpoint.
#[derive(Clone)]
pub struct Endpoint {
    info: Arc<ServerConfig>,
    config: StreamableHttpServerConfig,
}

/// Handles one request.
#[derive(Clone)]
struct Handler {
    info: Arc<ServerConfig>,
    offer: Arc<dyn Offer>,
}

impl Endpoint {
    /// Creates an endpoint. The program checks hosts, origins and keys before it passes a request on.
    pub fn new(options: &EndpointOptions) -> Self {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .build();
        let name = Implementation::new("kebne", options.version.as_str());
        let mut info = ServerConfig::new(capabilities).with_server_info(name);
        if !options.instructions.is_empty() {
            info = info.with_instructions(options.instructions.as_str());
        }
        Self {
            info: Arc::new(info),
            config: StreamableHttpServerConfig::default()
                .disable_allowed_hosts()
                .with_legacy_session_mode(false)
                .with_json_response(true)
                .with_max_request_body_bytes(options.body_size_max),
        }
    }

    /// Answers a request with what is offered to its caller. Dropping the future cancels the call that the request has begun.
    pub async fn answer(
        &self,
        request: http::Request<Bytes>,
        offer: Arc<dyn Offer>,
    ) -> http::Response<AnswerBody> {
        let handler = Handler {
            info: Arc::clone(&self.info),
            offer,
        };
        // Its tools decide which headers a request must have, so each request has a service of its own.
        let sessions = Arc::new(NeverSessionManager::default());
        let config = self.config.clone();
        let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
        service.handle(request.map(Full::new)).await
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        self.info.as_ref().clone()
    }

    fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
        let mut tools = self.offer.tools().into_iter();
        let (name, tool) = tools.find(|(known, _)| known == name)?;
        Some(tool.named(name))
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.offer.tools().into_iter();
        let tools = tools.map(|(name, tool)| tool.named(name)).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = ToolCall {
            name: request.name.into_owned(),
            arguments: request.arguments.unwrap_or_default(),
        };
        let called = self.offer.call(call);
        match called.await {
            Ok(result) => result_of(result).map(CallToolResponse::Complete),
            Err(CallEnding::Failed(message)) => {
                let said = CallToolResult::error(vec![ContentBlock::text(message)]);
                Ok(CallToolResponse::Complete(said))
            }
            Err(CallEnding::Unknown(message) | CallEnding::Invalid(message)) => {
                Err(ErrorData::invalid_params(message, None))
            }
        }
    }

    async fn list_resources(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = self.offer.resources().into_iter();
        let resources = resources.map(|one| {
            let resource = rmcp::model::Resource::new(one.uri, one.name);
            resource
                .with_description(one.description)
                .with_mime_type("application/json")
        });
        Ok(ListResourcesResult::with_all_items(resources.collect()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let read = self.offer.read(&uri);
        match read.await {
            Ok(text) => {
                let contents = ResourceContents::text(text, uri);
                let contents = contents.with_mime_type("application/json");
                Ok(ReadResourceResult::new(vec![contents]).into())
            }
            Err(CallEnding::Unknown(message)) => {
                let data = serde_json::json!({"uri": uri});
                let code = ErrorCode::RESOURCE_NOT_FOUND;
                Err(ErrorData::new(code, message, Some(data)))
            }
            Err(CallEnding::Invalid(message)) => Err(ErrorData::invalid_params(message, None)),
            Err(CallEnding::Failed(message)) => Err(ErrorData::internal_error(message, None)),
        }
    }
}

/// Reads the result of a tool. That of a server of the era of sessions does not say that it is complete, which clients of the other era require.
fn result_of(result: Value) -> Result<CallToolResult, ErrorData> {
    let read = serde_json::from_value::<CallToolResult>(result);
    let complete = read.map(|mut result| {
        result.result_type = Some(ResultType::COMPLETE);
        result
    });
    complete.map_err(|error| {
        ErrorData::internal_error(
            format!("the result of the tool cannot be read: {error}"),
            None,
        )
    })
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Endpoint").finish_non_exhaustive()
    }
}
