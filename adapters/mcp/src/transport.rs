//! Connections to servers: the transport of each way, the era of the protocol, and what the gateway is as a client.

use std::{collections::HashMap, sync::Arc};

use rmcp::{
    ClientHandler, RoleClient,
    model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion},
    service::{ClientLifecycleMode, ClientServiceExt as _, NotificationContext, RunningService},
    transport::{
        StreamableHttpClientTransport, async_rw::AsyncRwTransport,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use tokio::sync::Notify;

use crate::{
    authorized::Authorized,
    fault::Fault,
    options::{Era, HttpWay, Options, ProcessWay, Way},
    process::Process,
};

/// The calls of one server over HTTP at once; the lane has a smaller bound.
const CALLS_MAX: usize = 1024;

/// The gateway as a client: it offers nothing to servers, and takes note of changed lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// Notified when the list of tools has changed.
    pub(crate) changed: Arc<Notify>,
}

impl ClientHandler for Client {
    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changed.notify_one();
    }

    fn get_info(&self) -> ClientConfig {
        let name = Implementation::new("kebne", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), name)
    }
}

/// A connection.
pub(crate) struct Connection {
    pub(crate) service: RunningService<RoleClient, Client>,
    /// The child process, if the server is one.
    pub(crate) process: Option<Process>,
}

/// Connects to a server, or starts it.
pub(crate) async fn connect(options: &Options, client: Client) -> Result<Connection, Fault> {
    match &options.way {
        Way::Http(way) => by_http(options, way, client).await,
        Way::Process(way) => by_process(options, way, client).await,
    }
}

async fn by_http(options: &Options, way: &HttpWay, client: Client) -> Result<Connection, Fault> {
    let headers = way.headers.iter();
    let headers: HashMap<_, _> = headers
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut config = StreamableHttpClientTransportConfig::with_uri(way.url.as_str())
        .max_concurrent_requests(CALLS_MAX)
        .custom_headers(headers);
    config.max_sse_event_size = options.answer_size_max;
    config.max_json_response_size = options.answer_size_max;
    let http = Authorized::new(way.client.clone(), way.oauth.as_ref(), &way.url);
    let transport = StreamableHttpClientTransport::with_client(http, config);
    let started = client.serve_with_lifecycle(transport, lifecycle(options.era));
    let service = started.await.map_err(|error| Fault::of_start(&error))?;
    Ok(Connection {
        service,
        process: None,
    })
}

async fn by_process(
    options: &Options,
    way: &ProcessWay,
    client: Client,
) -> Result<Connection, Fault> {
    let started = Process::start(&options.name, way);
    let (process, output, input) = started
        .map_err(|error| Fault::Away(format!("`{}` cannot be started: {error}", way.command)))?;
    let transport =
        AsyncRwTransport::new(output, input).with_max_line_length(options.answer_size_max);
    let started = client.serve_with_lifecycle(transport, lifecycle(options.era));
    match started.await {
        Ok(service) => Ok(Connection {
            service,
            process: Some(process),
        }),
        Err(error) => Err(Fault::of_start(&error)),
    }
}

fn lifecycle(era: Era) -> ClientLifecycleMode {
    match era {
        Era::Auto => ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
        Era::Sessions => ClientLifecycleMode::Initialize,
        Era::Stateless => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    }
}
