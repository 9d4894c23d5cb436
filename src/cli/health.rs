//! `kebne health`: asks a running gateway whether it lives, or whether it admits calls. Health checks of containers use
//! it, because their images need no other program for that.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::{StatusCode, Url};

use crate::{
    backend::upstream::ClientOptions,
    cli::{CommandError, causes::causes, tls::TlsArguments},
    settings::{Environment, NotUtf8},
};

/// Time for the answer. A gateway that needs longer does not do its work.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The variable that sets the address on which `kebne serve` listens.
const LISTEN: &str = "KEBNE__SERVER__LISTEN";
/// The variable that sets the certificate of `kebne serve`.
const CERT: &str = "KEBNE__SERVER__TLS__CERT";
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
    /// A file of the arguments cannot be used.
    #[error("{0}")]
    File(String),
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

/// What is asked, and how.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The address of the gateway; without it, the one on which `kebne serve` listens with the same environment.
    pub address: Option<&'a str>,
    /// `true` to ask whether it admits calls, `false` to ask whether it lives.
    pub is_ready: bool,
    /// `true` if any certificate is accepted.
    pub is_insecure: bool,
    /// The files for TLS.
    pub tls: &'a TlsArguments,
}

impl Question<'_> {
    /// Asks the gateway.
    ///
    /// # Errors
    /// Fails if the gateway does not answer with 200.
    pub fn ask(
        &self,
        environment: &dyn Environment,
        output: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let (path, healthy) = if self.is_ready {
            ("/readyz", "ready")
        } else {
            ("/healthz", "healthy")
        };
        let url = url(self.address, environment)?;
        let mut options = ClientOptions::new(TIMEOUT, url.scheme() == "https");
        // The gateway's own certificate has another name than the address on which it listens.
        let is_own = self.address.is_none() && self.tls.ca.is_none();
        if self.is_insecure || is_own {
            options.trust_anybody();
        }
        self.tls.add_to(&mut options).map_err(HealthError::File)?;
        ask(url, path, &options)?;
        writeln!(output, "{healthy}")?;
        Ok(())
    }
}

/// Returns the address of the gateway.
fn url(address: Option<&str>, environment: &dyn Environment) -> Result<Url, HealthError> {
    let own = || {
        let has_tls = environment.get(CERT)?.is_some_and(|cert| !cert.is_empty());
        let scheme = if has_tls { "https" } else { "http" };
        Ok::<_, HealthError>(format!("{scheme}://{}", listened_on(environment)?))
    };
    let given = address.map(|address| Ok(address.to_owned()));
    let address = given.unwrap_or_else(own)?;
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

fn ask(mut url: Url, path: &str, options: &ClientOptions) -> Result<(), HealthError> {
    url.set_path(path);
    url.set_query(None);
    // A user name and a password are not shown.
    let shown = format!("{}{path}", url.origin().ascii_serialization());
    let no_answer = |error: reqwest::Error| HealthError::NoAnswer {
        url: shown.clone(),
        reason: causes(&error.without_url()),
    };
    let client = options.build().map_err(no_answer)?;
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
        let environment = BTreeMap::from([(CERT.to_owned(), "cert.pem".to_owned())]);
        let secure = url(None, &environment).unwrap();
        assert_eq!(secure.as_str(), "https://127.0.0.1:8080/");
    }
}
