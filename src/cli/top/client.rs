//! Reads the state of a gateway.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::{
    backend::upstream::ClientOptions,
    cli::{
        causes::causes,
        tls::TlsArguments,
        top::{
            TopError,
            model::{Alerts, State},
        },
    },
};

/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one gateway.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    base: Url,
    key: Option<String>,
}

impl Client {
    /// Creates a client of the gateway at an address.
    ///
    /// # Errors
    /// Returns an error if the address cannot be used.
    pub(super) fn new(
        address: &str,
        key: Option<String>,
        tls: &TlsArguments,
    ) -> Result<Self, TopError> {
        let wrong = || TopError::Address(address.to_owned());
        let mut base = Url::parse(address).map_err(|_| wrong())?;
        if !["http", "https"].contains(&base.scheme()) || !base.has_host() {
            return Err(wrong());
        }
        // `http://127.0.0.1:8080/v1` is what clients of the API use.
        let path = base.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        base.set_path(&path);
        base.set_query(None);
        let no_runtime = |error: std::io::Error| TopError::NoAnswer {
            address: address.to_owned(),
            reason: error.to_string(),
        };
        let mut options = ClientOptions::new(TIMEOUT, base.scheme() == "https");
        tls.add_to(&mut options).map_err(TopError::File)?;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Ok(Self {
            http: options.build().map_err(|_| wrong())?,
            runtime: runtime.enable_all().build().map_err(no_runtime)?,
            base,
            key,
        })
    }

    /// Returns the address without a user name and a password.
    pub(super) fn address(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        let port = self
            .base
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{host}{port}", self.base.scheme())
    }

    /// Reads the state and the alerts.
    ///
    /// # Errors
    /// Returns an error if the gateway does not answer or refuses the key.
    pub(super) fn read(&self) -> Result<(State, Alerts), TopError> {
        self.runtime.block_on(async {
            let state = self.get("/state").await?;
            let alerts = self.get("/v1/alerts").await?;
            Ok((state, alerts))
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, TopError> {
        let no_answer = |reason: String| TopError::NoAnswer {
            address: self.address(),
            reason,
        };
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let mut request = self.http.get(url).timeout(TIMEOUT);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| no_answer(causes(&error.without_url())))?;
        match answer.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(TopError::NotAllowed {
                    address: self.address(),
                    status: status.as_u16(),
                });
            }
            status => return Err(no_answer(format!("`{path}` answered {status}"))),
        }
        let body = answer.bytes().await;
        let body = body.map_err(|error| no_answer(causes(&error.without_url())))?;
        serde_json::from_slice(&body)
            .map_err(|error| no_answer(format!("`{path}` is not that of a gateway: {error}")))
    }
}
