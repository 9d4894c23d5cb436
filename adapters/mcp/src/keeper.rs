//! The task that keeps the connection to one server: it connects, reads the list of tools, reads it again when it has changed or is old, and
//! connects again after a loss, with growing waits.

use std::{sync::Arc, time::Duration};

use rmcp::{
    Peer, RoleClient,
    model::{ServerNotification, SubscriptionFilter},
    service::ServiceError,
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    fault::{Fault, short},
    shared::{Inner, Link},
    tool::Tool,
    transport::{Client, Connection, connect},
};

/// The shortest and the longest wait before a server is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// The most tools of one server; further ones are left out.
const TOOLS_MAX: usize = 1000;
/// The shortest time between two lists that a server has announced as changed.
const LISTS_MIN: Duration = Duration::from_secs(1);
/// The most pages of a list, against a server that has no last one.
const PAGES_MAX: usize = 100;

/// Keeps the connection of a server until it is stopped.
pub(crate) async fn keep(inner: Arc<Inner>, stop: CancellationToken) {
    let mut wait = AGAIN.0;
    loop {
        let client = Client::default();
        let changed = Arc::clone(&client.changed);
        inner.set_link(Link::Starting);
        let begun = tokio::select! {
            () = stop.cancelled() => return,
            begun = begin(&inner, client) => begun,
        };
        let fault = match begun {
            Ok(connection) => {
                wait = AGAIN.0;
                let name = &inner.options.name;
                tracing::info!(
                    server = name,
                    tools = inner.tools().len(),
                    "an MCP server is there"
                );
                let lost = serve(&inner, connection, &changed, &stop).await;
                if stop.is_cancelled() {
                    return;
                }
                lost
            }
            Err(fault) => fault,
        };
        tracing::warn!(server = inner.options.name, %fault, "an MCP server is not there");
        inner.set_link(Link::Down(fault));
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
        wait = (wait * 2).min(AGAIN.1);
    }
}

/// Connects, and reads the first list.
async fn begin(inner: &Inner, client: Client) -> Result<Connection, Fault> {
    let options = &inner.options;
    let begun = async {
        let connection = connect(options, client).await?;
        read_list(inner, connection.service.peer())
            .await
            .map_err(Fault::before_work)?;
        Ok(connection)
    };
    match tokio::time::timeout(options.start_timeout, begun).await {
        Ok(begun) => begun,
        Err(_) => Err(Fault::Away(format!(
            "it did not list its tools within {:?}",
            options.start_timeout
        ))),
    }
}

/// Serves until the connection is lost or the task is stopped. Returns why it was lost.
async fn serve(
    inner: &Arc<Inner>,
    connection: Connection,
    changed: &Arc<Notify>,
    stop: &CancellationToken,
) -> Fault {
    let Connection { service, process } = connection;
    let peer = service.peer().clone();
    let version = peer
        .peer_info()
        .map(|info| info.protocol_version.to_string());
    inner.set_link(Link::Up {
        peer: peer.clone(),
        version: version.unwrap_or_default(),
    });
    let ending = service.cancellation_token();
    let listening = tokio::spawn(listen(peer.clone(), Arc::clone(changed)));
    let mut closed = Box::pin(service.waiting());
    let fault = loop {
        tokio::select! {
            () = stop.cancelled() => break Fault::Lost("the gateway stops".to_owned()),
            reason = &mut closed => {
                let why = reason.map_or_else(|error| error.to_string(), |reason| format!("{reason:?}"));
                break Fault::Lost(short(&format!("it has ended ({why})")));
            }
            () = changed.notified() => {}
            () = sleep(inner.options.refresh) => {}
        }
        let listed = tokio::time::timeout(inner.options.start_timeout, read_list(inner, &peer));
        match listed.await {
            Ok(Ok(())) => sleep(LISTS_MIN).await,
            Ok(Err(fault)) => break fault,
            Err(_) => break Fault::Lost("it does not list its tools in time".to_owned()),
        }
    };
    // Calls that begin now wait for the next connection.
    inner.set_link(Link::Down(fault.clone()));
    listening.abort();
    ending.cancel();
    if let Some(process) = process {
        process.stop().await;
    }
    fault
}

/// Reads the list of tools, page by page.
async fn read_list(inner: &Inner, peer: &Peer<RoleClient>) -> Result<(), Fault> {
    let mut tools = Vec::new();
    let mut cursor = None;
    for _page in 0..PAGES_MAX {
        let params = rmcp::model::PaginatedRequestParams::default().with_cursor(cursor);
        let page = peer.list_tools(Some(params)).await;
        let page = page.map_err(|error| no_tools(error).unwrap_or_else(Fault::of_call))?;
        tools.extend(page.tools.into_iter().map(Tool::of));
        cursor = page.next_cursor;
        if cursor.is_none() || tools.len() > TOOLS_MAX {
            break;
        }
    }
    if tools.len() > TOOLS_MAX {
        let server = &inner.options.name;
        tracing::warn!(
            server,
            "an MCP server has more than {TOOLS_MAX} tools: the others are left out"
        );
        tools.truncate(TOOLS_MAX);
    }
    inner.set_tools(tools);
    Ok(())
}

/// Returns the fault of a server without tools, which is of no use here; the error itself if it is another one.
fn no_tools(error: ServiceError) -> Result<Fault, ServiceError> {
    match error {
        ServiceError::McpError(error) if error.code == rmcp::model::ErrorCode::METHOD_NOT_FOUND => {
            Ok(Fault::Unusable("it has no tools".to_owned()))
        }
        other => Err(other),
    }
}

/// Subscribes to changes of the list at a server of the era without sessions. Those of the other era send them by themselves.
async fn listen(peer: Peer<RoleClient>, changed: Arc<Notify>) {
    let tells = peer.peer_info().is_some_and(|info| {
        let tools = info.capabilities.tools.as_ref();
        let is_stateless = info.protocol_version.as_str() >= "2026-07-28";
        is_stateless && tools.is_some_and(|tools| tools.list_changed == Some(true))
    });
    if !tells {
        return;
    }
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    match peer.listen(filter).await {
        Ok(mut subscription) => {
            while let Ok(Some(told)) = subscription.next().await {
                if matches!(told, ServerNotification::ToolListChangedNotification(_)) {
                    changed.notify_one();
                }
            }
        }
        // The list is read again now and then.
        Err(error) => tracing::debug!(%error, "an MCP server does not tell of changes"),
    }
}
