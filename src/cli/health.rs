//! `kebne health`: asks a running gateway whether it lives, or whether it admits calls. Health checks of containers use
//! it, because their images need no other program for that.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{StatusCode, Url};

use crate::{
    backend::upstream,
    cli::{CommandError, causes::causes},
    settings::{Environment, NotUtf8},
};

/// Time for the answer. A gateway that needs longer does not do its work.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The variable that sets the address on which `kebne serve` listens.
const LISTEN: &str = "KEBNE__SERVER__LISTEN";
/// The address without it: the default of the settings.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The reason why a gateway is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The address cannot be used.
    #[error("`{0}` is not the address of a gateway, such as http://127.0.0.1:8080")]
    Address(String),
    /// The variable cannot be read.
    #[error(transparent)]
    Unreadable(#[from] NotUtf8),
    /// The gateway does not answer.
    #[error("{url} does not answer: {reason}")]
    NoAnswer {
        /// The URL.
        url: String,
        /// The reason.
        reason: String,
    },
    /// The gateway does not answer with 200.
    #[error("{url} answers {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: StatusCode,
    },
    /// The client could not be started.
    #[error("the client cannot be started: {0}")]
    Client(#[from] std::io::Error),
}

/// Asks the gateway at `address`, or at the one on which `kebne serve` listens with the same environment.
///
/// # Errors
/// Fails if the gateway does not answer with 200.
pub fn run(
    address: Option<&str>,
    ready: bool,
    environment: &dyn Environment,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    let path = if ready { "/readyz" } else { "/healthz" };
    ask(url(address, environment)?, path)?;
    writeln!(output, "{}", if ready { "ready" } else { "healthy" })?;
    Ok(())
}

/// Returns the address of the gateway.
fn url(address: Option<&str>, environment: &dyn Environment) -> Result<Url, HealthError> {
    let address = match address {
        Some(address) => address.to_owned(),
        None => format!("http://{}", listened_on(environment)?),
    };
    Url::parse(&address)
        .ok()
        .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
        .ok_or(HealthError::Address(address))
}

/// Returns the address on which `kebne serve` listens; a wildcard address is reached by loopback.
fn listened_on(environment: &dyn Environment) -> Result<SocketAddr, HealthError> {
    let Some(text) = environment.get(LISTEN)? else {
        return Ok(DEFAULT);
    };
    let mut address: SocketAddr = text.parse().map_err(|_| HealthError::Address(text))?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

fn ask(mut url: Url, path: &str) -> Result<(), HealthError> {
    url.set_path(path);
    url.set_query(None);
    // A user name and a password are not shown.
    let shown = format!("{}{path}", url.origin().ascii_serialization());
    let no_answer = |error: reqwest::Error| HealthError::NoAnswer {
        url: shown.clone(),
        reason: causes(&error.without_url()),
    };
    let client = upstream::client(TIMEOUT, url.scheme() == "https").map_err(no_answer)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let answer = runtime
        .enable_all()
        .build()?
        // The timer of a request needs the runtime when it is made.
        .block_on(async { client.get(url).timeout(TIMEOUT).send().await });
    match answer.map_err(no_answer)?.status() {
        StatusCode::OK => Ok(()),
        status => Err(HealthError::Status { url: shown, status }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_address_is_the_one_on_which_the_gateway_listens() {
        for (listen, address, expected) in [
            (None, None, Ok("http://127.0.0.1:8080/")),
            (Some("0.0.0.0:9000"), None, Ok("http://127.0.0.1:9000/")),
            (Some("[::]:9000"), None, Ok("http://[::1]:9000/")),
            (Some("10.0.0.7:80"), None, Ok("http://10.0.0.7/")),
            (Some("nowhere"), None, Err("`nowhere`")),
            (Some("nowhere"), Some("http://a:1"), Ok("http://a:1/")),
            (None, Some("127.0.0.1:1"), Err("`127.0.0.1:1`")),
            (None, Some("ftp://a"), Err("`ftp://a`")),
        ] {
            let variables = listen.map(|listen: &str| (LISTEN.to_owned(), listen.to_owned()));
            let environment: BTreeMap<String, String> = variables.into_iter().collect();
            match (url(address, &environment), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().starts_with(expected), "{error}");
                }
                (url, expected) => {
                    panic!("{listen:?} {address:?}: {url:?} instead of {expected:?}")
                }
            }
        }
    }
}
