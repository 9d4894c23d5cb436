//! Requests to a server over HTTP with a token of OAuth: it is fetched for the gateway itself (the grant `client_credentials`), kept until it
//! is about to expire, and fetched again when the server refuses it.

use std::{
    borrow::Cow,
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream::BoxStream;
use http::{HeaderName, HeaderValue};
use rmcp::{
    model::ClientJsonRpcMessage,
    transport::streamable_http_client::{
        AuthRequiredError, SseError, StreamableHttpClient, StreamableHttpError,
        StreamableHttpPostResponse, StreamableHttpResponseLimits,
    },
};
use serde::Deserialize;
use sse_stream::Sse;
use tokio::sync::Mutex;

use crate::options::OAuth;

/// A token is fetched again so long before it expires.
const MARGIN: Duration = Duration::from_secs(30);
/// The largest answer of the server of tokens.
const SIZE_MAX: usize = 64 << 10;
/// The longest time for a token.
const TIME_MAX: Duration = Duration::from_secs(30);

type Fault = StreamableHttpError<reqwest::Error>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// A client that adds a token to each request, if the server needs one.
#[derive(Clone)]
pub(crate) struct Authorized {
    client: reqwest::Client,
    tokens: Option<Arc<Tokens>>,
}

/// Where tokens come from, and the one that was fetched last.
struct Tokens {
    oauth: OAuth,
    /// The URL of the server, for which the token is.
    resource: String,
    client: reqwest::Client,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    value: String,
    /// When it is fetched again; `None` if it has no end.
    until: Option<Instant>,
}

/// What the server of tokens answers.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Authorized {
    pub(crate) fn new(client: reqwest::Client, oauth: Option<&OAuth>, url: &str) -> Self {
        let tokens = oauth.map(|oauth| {
            Arc::new(Tokens {
                oauth: oauth.clone(),
                resource: url.to_owned(),
                client: client.clone(),
                token: Mutex::default(),
            })
        });
        Self { client, tokens }
    }

    /// Makes a request with the token; once more with a new one if the server refuses it, which means that nothing was done.
    async fn with_token<T, F>(
        &self,
        given: Option<String>,
        request: impl Fn(Option<String>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let Some(tokens) = &self.tokens else {
            return request(given).await;
        };
        let token = tokens.get(None).await?;
        match request(Some(token.clone())).await {
            Err(Fault::AuthRequired(_)) => {
                let other = tokens.get(Some(&token)).await?;
                request(Some(other)).await
            }
            answered => answered,
        }
    }
}

impl Tokens {
    /// Returns a token that has not expired and is not the one that was refused.
    async fn get(&self, refused: Option<&str>) -> Result<String, Fault> {
        // Requests that begin at once fetch one token.
        let mut kept = self.token.lock().await;
        let now = Instant::now();
        let usable = kept.as_ref().filter(|token| {
            token.until.is_none_or(|until| now < until) && refused != Some(token.value.as_str())
        });
        if let Some(token) = usable {
            return Ok(token.value.clone());
        }
        let fetched = tokio::time::timeout(TIME_MAX, self.fetch()).await;
        let late = || unusable("the server of tokens does not answer");
        let token = fetched.map_err(|_| late())??;
        *kept = Some(token.clone());
        Ok(token.value)
    }

    async fn fetch(&self) -> Result<Token, Fault> {
        let oauth = &self.oauth;
        let scopes = oauth.scopes.join(" ");
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("resource", self.resource.as_str()),
        ];
        if !scopes.is_empty() {
            form.push(("scope", scopes.as_str()));
        }
        let request = self.client.post(&oauth.token_url);
        let request = request
            .basic_auth(
                encoded(&oauth.client_id),
                Some(encoded(&oauth.client_secret)),
            )
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(form_text(&form));
        let mut response = request.send().await.map_err(Fault::Client)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(Fault::Client)? {
            body.extend_from_slice(&part);
            if body.len() > SIZE_MAX {
                return Err(unusable("the answer of the server of tokens is too large"));
            }
        }
        if status.is_client_error() {
            let why = format!(
                "the server of tokens refuses with status {}",
                status.as_u16()
            );
            return Err(Fault::AuthRequired(AuthRequiredError::new(why)));
        }
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| unusable("the server of tokens does not answer with a token"))?;
        let lifetime = granted.expires_in.map(Duration::from_secs);
        Ok(Token {
            value: granted.access_token,
            until: lifetime.map(|time| Instant::now() + time.saturating_sub(MARGIN)),
        })
    }
}

fn unusable(why: &'static str) -> Fault {
    Fault::UnexpectedServerResponse(Cow::Borrowed(why))
}

/// Encodes a text for a form.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&hex::encode_upper([byte]));
        }
    }
    encoded
}

fn form_text(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter();
    let fields = fields.map(|(name, value)| format!("{name}={}", encoded(value)));
    fields.collect::<Vec<_>>().join("&")
}

impl StreamableHttpClient for Authorized {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let request = |token| {
            let (uri, message) = (Arc::clone(&uri), message.clone());
            let (session, headers) = (session.clone(), headers.clone());
            self.client
                .post_message(uri, message, session, token, headers)
        };
        self.with_token(token, request).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: Headers,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let request = |token| {
            let (uri, message) = (Arc::clone(&uri), message.clone());
            let (session, headers) = (session.clone(), headers.clone());
            self.client
                .post_message_with_response_limits(uri, message, session, token, headers, limits)
        };
        self.with_token(token, request).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<(), Fault> {
        let request = |token| {
            let (uri, session) = (Arc::clone(&uri), Arc::clone(&session));
            self.client
                .delete_session(uri, session, token, headers.clone())
        };
        self.with_token(token, request).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        token: Option<String>,
        headers: Headers,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        let request = |token| {
            let (uri, session) = (Arc::clone(&uri), session.clone());
            let (last_event, headers) = (last_event.clone(), headers.clone());
            self.client
                .get_stream(uri, session, last_event, token, headers)
        };
        self.with_token(token, request).await
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        token: Option<String>,
        headers: Headers,
        size_max: usize,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Fault> {
        let request = |token| {
            let (uri, session) = (Arc::clone(&uri), session.clone());
            let (last_event, headers) = (last_event.clone(), headers.clone());
            self.client.get_stream_with_max_sse_event_size(
                uri, session, last_event, token, headers, size_max,
            )
        };
        self.with_token(token, request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded() {
        let fields = [("grant_type", "client_credentials"), ("scope", "a b&c")];
        let text = form_text(&fields);
        assert_eq!(text, "grant_type=client_credentials&scope=a%20b%26c");
    }
}
