//! One model server over HTTP: connecting, sending, reading within bounds, and classifying each failure on the way.
//!
//! All dialects use it. It has its connections per backend and thread, and the only past fact that classification needs:
//! the time of the last success of the server. Calls without TLS go through a small client of their own (`plain`); TLS,
//! HTTP/2 and large request bodies are left to `reqwest`.

mod clients;
mod credentials;
mod incoming;
mod log;
mod plain;
mod redirect;
mod refusal;
mod response;
mod secrets;
mod transport;
mod upload;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use clients::Clients;
use credentials::{api_key, header_map};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::{passed_headers::PassedHeaders, redact};
use log::Log;
use plain::PlainClient;
use reqwest::{Body, Method, Request, Url};
use tokio::time::Instant;
use transport::TransportError;
use upload::Upload;

use crate::{
    backend::{BuildError, reason::REDIRECTED},
    memory::ByteBudget,
    settings::{BackendSettings, BaseUrl, Environment},
};

/// The time after which an idle connection is closed. It is shorter than that of usual servers (15 s and more; uvicorn
/// closes after 5 s, which is handled when it occurs), so that a call rarely uses a connection that the server is
/// closing.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(14);

/// URLs that are kept; a dialect has fewer paths.
const URLS_MAX: usize = 32;

/// The header with the id of a call.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) use clients::client;
pub(crate) use incoming::Incoming;
pub(crate) use response::Response;
use secrets::Secrets;

/// A model server.
pub(crate) struct Upstream {
    log: Log,
    /// Sends requests with small bodies over connections without TLS.
    plain: PlainClient,
    /// Sends all other requests.
    clients: Clients,
    base_url: Url,
    /// The URLs of the paths that were called.
    urls: RwLock<Vec<(String, Arc<Url>)>>,
    headers: HeaderMap,
    wake_headers: HeaderMap,
    asleep_after: Duration,
    cold_statuses: Vec<u16>,
    passed_headers: PassedHeaders,
    /// What errors are shown without.
    secrets: Arc<Secrets>,
    answer_size_max: usize,
    /// The budget of all answers.
    answers: ByteBudget,
    event_size_max: usize,
    /// When the server last answered with a success.
    worked_at: Mutex<Option<Instant>>,
}

/// A call that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// The method.
    pub(crate) method: Method,
    /// Appended to the base URL.
    pub(crate) path: &'a str,
    /// The body; JSON unless `form` is another content type.
    pub(crate) body: Bytes,
    /// The content type of a body that is not JSON.
    pub(crate) form: Option<&'a str>,
    /// `true` if any answer is accepted, not only JSON.
    pub(crate) is_opaque: bool,
    /// The caller's request id.
    pub(crate) request_id: &'a str,
    /// Headers of the caller that are sent with the call.
    pub(crate) headers: Option<&'a HeaderMap>,
    /// `true` if an event stream is requested.
    pub(crate) stream: bool,
    /// `true` for the one call that wakes a cold lane.
    pub(crate) wake: bool,
}

impl Upstream {
    pub(crate) fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        let wrong = |key, reason: &dyn std::fmt::Display| BuildError::Setting {
            backend: settings.name.clone(),
            key,
            reason: reason.to_string(),
        };
        let given = settings.base_url.as_ref().map_or("", BaseUrl::expose);
        let base_url = Url::parse(given).map_err(|error| wrong("base_url", &error))?;
        let mut headers =
            header_map(&settings.headers).map_err(|error| wrong("headers", &error))?;
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some((name, value)) = api_key(settings, environment)? {
            headers.insert(name, value);
        }
        let wake_headers =
            header_map(&settings.wake_headers).map_err(|error| wrong("wake_headers", &error))?;
        let names = settings.pass_headers.iter().map(String::as_str);
        let passed_headers =
            PassedHeaders::of(names).map_err(|error| wrong("pass_headers", &error))?;
        let tls = base_url.scheme() == "https";
        let connect_timeout = settings.connect_timeout.get();
        let client = client(connect_timeout, tls).map_err(|error| wrong("base_url", &error))?;
        // Credentials in the URL become a header.
        let request = client.post(base_url).build();
        let request = request.map_err(|error| wrong("base_url", &error))?;
        let base_url = request.url().clone();
        if let Some(credentials) = request.headers().get(header::AUTHORIZATION)
            && !headers.contains_key(header::AUTHORIZATION)
        {
            headers.insert(header::AUTHORIZATION, credentials.clone());
        }
        let secrets = Arc::new(Secrets::of(&[&headers, &wake_headers], given));
        Ok(Self {
            log: Log::new(&settings.name),
            plain: PlainClient::new(connect_timeout),
            clients: Clients::new(client, connect_timeout, tls),
            base_url,
            urls: RwLock::default(),
            headers,
            wake_headers,
            asleep_after: settings.asleep_after.get(),
            cold_statuses: settings
                .cold_statuses
                .iter()
                .map(|status| status.get())
                .collect(),
            passed_headers,
            secrets,
            answer_size_max: settings.answer_size_max.as_usize(),
            answers: ByteBudget::new(usize::MAX),
            event_size_max: settings.event_size_max.as_usize(),
            worked_at: Mutex::new(None),
        })
    }

    /// Charges answers to `answers`. Without this call they are not charged.
    pub(crate) fn charge_answers_to(&mut self, answers: &ByteBudget) {
        self.answers = answers.clone();
    }

    /// Adds a header to the calls that wake the server.
    pub(crate) fn add_wake_header(&mut self, name: HeaderName, value: HeaderValue) {
        self.wake_headers.insert(name, value);
    }

    pub(crate) fn event_size_max(&self) -> usize {
        self.event_size_max
    }

    /// Sends a call and returns its successful answer, of which only the head is read.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Response, Failure> {
        let proven = !call.wake && self.is_proven();
        let sent = self.send_to(&call, proven).await;
        sent.map_err(|mut failure| {
            self.report(&mut failure, call.request_id);
            failure
        })
    }

    /// Sends a call, and follows redirects to another address of the same server.
    async fn send_to(&self, call: &Call<'_>, proven: bool) -> Result<Response, Failure> {
        // Paths of operations that pass through may hold ids, and no id is asked for often.
        let mut url = if call.is_opaque {
            Arc::new(self.make_url(call.path))
        } else {
            self.url(call.path)
        };
        for _ in 0..=redirect::HOPS_MAX {
            let response = self.post(&url, call, proven).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            match redirect::target(&url, &response) {
                Some(target) => url = Arc::new(target),
                None => return Err(self.refused(response, proven).await),
            }
        }
        let message = "the backend redirects in a circle; `base_url` is wrong";
        Err(Failure::new(Outcome::Unusable, message).because(REDIRECTED))
    }

    /// Posts a call and returns the answer with any status.
    async fn post(&self, url: &Url, call: &Call<'_>, proven: bool) -> Result<Response, Failure> {
        let sent = if url.scheme() == "http" && call.body.len() < upload::PIECE {
            let headers = self.headers(call);
            let sent = self.plain.send(&call.method, url, &headers, &call.body);
            sent.await.map_err(TransportError::Plain)
        } else {
            self.post_by_client(url, call).await?
        };
        sent.map_err(|error| transport::not_sent(&error, proven))
    }

    /// Posts a call by the client for TLS and large bodies.
    async fn post_by_client(
        &self,
        url: &Url,
        call: &Call<'_>,
    ) -> Result<Result<Response, TransportError>, Failure> {
        let client = self.clients.get().map_err(|error| {
            let message = format!("the HTTP client cannot be created: {error}");
            Failure::new(Outcome::Misconfigured, message)
        })?;
        let send = async |body: Body| client.execute(self.request(url, call, body)).await;
        let sent = if call.body.len() < upload::PIECE {
            send(Body::from(call.body.clone())).await
        } else {
            let is_sent = Arc::new(AtomicBool::new(false));
            let body = Upload::new(call.body.clone(), Arc::clone(&is_sent));
            match send(Body::wrap(body)).await {
                // The server closed before it had the whole request, and may have said why.
                Err(error) if transport::was_closed(&error) && !is_sent.load(Relaxed) => {
                    let body = Upload::careful(call.body.clone(), is_sent);
                    send(Body::wrap(body)).await
                }
                sent => sent,
            }
        };
        Ok(sent
            .map(Response::of_client)
            .map_err(TransportError::Client))
    }

    /// Creates the request of a call.
    fn request(&self, url: &Url, call: &Call<'_>, body: Body) -> Request {
        let mut request = Request::new(call.method.clone(), url.clone());
        *request.body_mut() = Some(body);
        *request.headers_mut() = self.headers(call);
        request
    }

    /// Returns the headers of a call. Those of the call replace those of the settings.
    fn headers(&self, call: &Call<'_>) -> HeaderMap {
        let accept = match (call.stream, call.is_opaque) {
            (true, _) => HeaderValue::from_static("text/event-stream"),
            (false, true) => HeaderValue::from_static("*/*"),
            (false, false) => HeaderValue::from_static("application/json"),
        };
        let mut headers = self.headers.clone();
        headers.insert(header::ACCEPT, accept);
        if let Ok(id) = HeaderValue::from_str(call.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(more) = call.headers {
            headers.extend(more.clone());
        }
        if let Some(form) = call.form
            && let Ok(form) = HeaderValue::from_str(form)
        {
            headers.insert(header::CONTENT_TYPE, form);
        }
        if call.wake {
            headers.extend(self.wake_headers.clone());
        }
        headers
    }

    /// Gets a path outside the API, relative to the root of the server. Returns `None` if the answer is not a success.
    pub(crate) async fn get(&self, path: &str, size_max: usize) -> Option<Bytes> {
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let root = base.strip_suffix("/v1").unwrap_or(base).to_owned();
        url.set_path(&format!("{root}{path}"));
        let client = self.clients.get().ok()?;
        let asked = client.get(url).headers(self.headers.clone());
        let response = asked.send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let body = Incoming::of(
            Response::of_client(response),
            size_max,
            self.answers.share(),
        );
        Some(body.read_some(size_max).await)
    }

    /// Masks the secrets of this backend in a failure, and writes it to the log.
    pub(crate) fn report(&self, failure: &mut Failure, request_id: &str) {
        self.secrets.hide_in(failure);
        self.log.failure(failure, request_id, Instant::now());
    }

    /// Takes the body of an answer, to be read within the bound for whole answers.
    pub(crate) fn incoming(&self, response: Response, stream: bool) -> Incoming {
        let max = if stream {
            usize::MAX
        } else {
            self.answer_size_max
        };
        let body = Incoming::of(response, max, self.answers.share());
        body.with_events_of(self.event_size_max, Arc::clone(&self.secrets))
    }

    /// Returns the headers of an answer that are passed on to the caller.
    pub(crate) fn passed(&self, headers: &HeaderMap) -> HeaderMap {
        self.passed_headers.of_answer(headers)
    }

    /// Returns the bound of whole answers.
    pub(crate) fn answer_size_max(&self) -> usize {
        self.answer_size_max
    }

    /// Reads a whole answer within its bound.
    pub(crate) async fn read(&self, response: Response) -> Result<Bytes, Failure> {
        self.incoming(response, false)
            .read(self.answer_size_max)
            .await
    }

    /// Records that the server works.
    pub(crate) fn worked(&self) {
        *self
            .worked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Returns `true` if the server was seen to work after the last time it can have fallen asleep.
    pub(crate) fn is_proven(&self) -> bool {
        let worked_at = *self
            .worked_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        worked_at.is_some_and(|worked_at| worked_at.elapsed() < self.asleep_after)
    }

    /// Returns the URL of a path. URLs are made once for each path of a dialect.
    fn url(&self, path: &str) -> Arc<Url> {
        let known = self.urls.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, url)) = known.iter().find(|(known, _)| known == path) {
            return Arc::clone(url);
        }
        drop(known);
        let url = Arc::new(self.make_url(path));
        let mut known = self.urls.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < URLS_MAX {
            known.push((path.to_owned(), Arc::clone(&url)));
        }
        url
    }

    /// Appends a path to the base URL and keeps its query (`?api-version=…`).
    fn make_url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("base_url", &redact::url(self.base_url.as_str()))
            .finish_non_exhaustive()
    }
}
