//! One model server over HTTP: connecting, sending, reading within bounds, and classifying each failure on the way.
//!
//! All dialects use it. It has its connections per backend and thread, and the only past fact that classification needs:
//! the time of the last success of the server. Calls without TLS go through connections of `hyper` that are polled by the
//! calls themselves (`plain`), calls with TLS and HTTP/2 through `reqwest`.

mod check;
mod clients;
mod credentials;
mod heard;
mod incoming;
mod log;
mod options;
mod plain;
mod proxy;
mod redirect;
mod refusal;
mod response;
mod secrets;
mod target;
mod transport;
mod upload;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
pub(crate) use check::{Answered, CheckFailed, NotReached, Place};
use credentials::{add_headers_of_files, api_key, header_map};
pub(crate) use credentials::{digest_of_files, digest_of_key};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::{passed_headers::PassedHeaders, redact};
use log::Log;
use plain::PlainClient;
use proxy::Through;
use reqwest::{Body, Client, Method, Request, Url};
use target::{Target, Targets};
use tokio::time::Instant;
use transport::TransportError;
use upload::Upload;

use crate::{
    backend::{BuildError, reason::REDIRECTED},
    memory::ByteBudget,
    settings::{BackendSettings, BaseUrl, Environment},
    via,
};

/// The time after which an idle connection is closed. It is shorter than that of usual servers (15 s and more; uvicorn
/// closes after 5 s, which is handled when it occurs), so that a call rarely uses a connection that the server is
/// closing.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(14);

/// The header with the id of a call.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) use clients::{Clients, client, client_to};
pub(crate) use incoming::Incoming;
pub(crate) use options::ClientOptions;
pub(crate) use response::Response;
pub(crate) use secrets::Secrets;
pub(crate) use transport::Obstacle;

/// A model server.
pub(crate) struct Upstream {
    log: Log,
    /// Sends requests over connections without TLS.
    plain: PlainClient,
    /// Sends all other requests.
    clients: Clients,
    targets: Targets,
    /// The proxy through which the server is reached, if not directly.
    through: Option<Through>,
    headers: HeaderMap,
    wake_headers: HeaderMap,
    asleep_after: Duration,
    cold_statuses: Vec<u16>,
    /// `true` if the server is a function, which refuses calls for reasons of its own.
    is_function: bool,
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

/// Returns the URL, the headers and a client of a server that something else speaks with.
#[cfg(feature = "mcp")]
pub(crate) fn http_client(
    settings: &BackendSettings,
    environment: &dyn Environment,
) -> Result<(String, HeaderMap, Client), BuildError> {
    let wrong = |key, reason: &dyn std::fmt::Display| BuildError::Setting {
        backend: settings.name.clone(),
        key,
        reason: reason.to_string(),
    };
    let given = settings.base_url.as_ref().map_or("", BaseUrl::expose);
    let url = Url::parse(given).map_err(|error| wrong("base_url", &error))?;
    let mut headers = header_map(&settings.headers).map_err(|error| wrong("headers", &error))?;
    add_headers_of_files(settings, &mut headers)?;
    if let Some((name, value)) = api_key(settings, environment)? {
        headers.insert(name, value);
    }
    headers.insert(header::VIA, via::own());
    let (options, _) = way(settings, &url, environment)?;
    let client = options.build().map_err(|error| wrong("base_url", &error))?;
    Ok((url.to_string(), headers, client))
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
        add_headers_of_files(settings, &mut headers)?;
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
        let connect_timeout = settings.connect_timeout.get();
        let (options, through) = way(settings, &base_url, environment)?;
        let client = options.build().map_err(|error| wrong("base_url", &error))?;
        // Credentials in the URL become a header.
        let request = client.post(base_url).build();
        let request = request.map_err(|error| wrong("base_url", &error))?;
        let base_url = request.url().clone();
        if let Some(credentials) = request.headers().get(header::AUTHORIZATION)
            && !headers.contains_key(header::AUTHORIZATION)
        {
            headers.insert(header::AUTHORIZATION, credentials.clone());
        }
        let proxy = through
            .as_ref()
            .map_or("", |through| through.address.expose());
        let secrets = Arc::new(Secrets::of(&[&headers, &wake_headers], &[given, proxy]));
        // Calls that have come through other gateways replace it.
        headers.insert(header::VIA, via::own());
        Ok(Self {
            log: Log::new(&settings.name),
            plain: PlainClient::new(connect_timeout),
            clients: Clients::new(client, options),
            targets: Targets::new(base_url),
            through,
            headers,
            wake_headers,
            asleep_after: settings.asleep_after.get(),
            is_function: settings.function.is_some(),
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
        let mut target = if call.is_opaque {
            self.targets.make(call.path)
        } else {
            self.targets.get(call.path)
        };
        for _ in 0..=redirect::HOPS_MAX {
            let response = self.post(&target, call, proven).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            match redirect::target(&target.url, &response) {
                Some(url) => target = Arc::new(Target::from(url)),
                None => return Err(self.refused(response, proven).await),
            }
        }
        let message = "the backend redirects in a circle; `base_url` is wrong";
        Err(Failure::new(Outcome::Unusable, message).because(REDIRECTED))
    }

    /// Posts a call and returns the answer with any status.
    async fn post(
        &self,
        target: &Target,
        call: &Call<'_>,
        proven: bool,
    ) -> Result<Response, Failure> {
        let send = |body| self.exchange(target, call.method.clone(), self.headers(call), body);
        let sent = if call.body.len() < upload::PIECE {
            send(Upload::new(call.body.clone())).await
        } else {
            let is_sent = Arc::new(AtomicBool::new(false));
            let body = Upload::observed(call.body.clone(), Arc::clone(&is_sent));
            match send(body).await {
                // The server closed before it had the whole request, and may have said why.
                Err(error) if error.was_closed() && !is_sent.load(Relaxed) => {
                    send(Upload::careful(call.body.clone())).await
                }
                sent => sent,
            }
        };
        match sent {
            // It comes from the proxy: servers have no such status.
            Ok(response) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                let through = self.through.as_ref();
                through.map_or(Ok(response), |through| {
                    Err(transport::not_let_through(through))
                })
            }
            Ok(response) => Ok(response),
            Err(error) => Err(transport::not_sent(&error, proven, self.through.as_ref())),
        }
    }

    /// Sends a request by the client for its URL, and returns the answer with any status.
    async fn exchange(
        &self,
        target: &Target,
        method: Method,
        mut headers: HeaderMap,
        body: Upload,
    ) -> Result<Response, TransportError> {
        if body.is_end_stream() && ![Method::GET, Method::HEAD, Method::DELETE].contains(&method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        if let Some(plain) = &target.plain
            && self.through.is_none()
        {
            let mut request = http::Request::new(body);
            *request.method_mut() = method;
            *request.headers_mut() = headers;
            let sent = self.plain.send(plain, request).await;
            return sent.map_err(TransportError::Plain);
        }
        let client = self.clients.get().map_err(TransportError::NoClient)?;
        let mut request = Request::new(method, target.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(Body::wrap(body));
        let sent = client.execute(request).await;
        sent.map(Response::of_client)
            .map_err(TransportError::Client)
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
        let target = self.targets.at_root(path);
        let asked = self.exchange(
            &target,
            Method::GET,
            self.headers.clone(),
            Upload::default(),
        );
        let response = asked.await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let body = Incoming::of(response, size_max, self.answers.share());
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
}

/// Creates a client of another address that is made as those of a backend are.
///
/// # Errors
/// Returns an error if the settings of the backend cannot be used.
pub(crate) fn client_as(
    backend: &BackendSettings,
    url: &Url,
    environment: &dyn Environment,
) -> Result<Client, String> {
    let (options, _) = way(backend, url, environment).map_err(|error| error.reason())?;
    let made = options.build();
    made.map_err(|error| error.without_url().to_string())
}

/// Returns the options of the clients of a backend, and the proxy through which they reach it.
fn way(
    settings: &BackendSettings,
    base_url: &Url,
    environment: &dyn Environment,
) -> Result<(ClientOptions, Option<Through>), BuildError> {
    let wrong = |key| {
        move |reason| BuildError::Setting {
            backend: settings.name.clone(),
            key,
            reason,
        }
    };
    let through = Through::of(settings, base_url, environment).map_err(wrong("proxy"))?;
    let tls = base_url.scheme() == "https" || through.as_ref().is_some_and(Through::has_tls);
    let mut options = ClientOptions::new(settings.connect_timeout.get(), tls);
    if let Some(file) = &settings.ca_file {
        options.trust_file(file).map_err(wrong("ca_file"))?;
    }
    if let Some(cert) = &settings.client_cert_file {
        let key = settings.client_key_file.as_deref();
        let identified = options.identify_by(cert, key);
        identified.map_err(wrong("client_cert_file"))?;
    }
    if let Some(through) = &through {
        options.reach_through(through.proxy.clone());
        let (backend, proxy, named_by) = (&settings.name, &through.shown, &through.named_by);
        tracing::info!(%backend, %proxy, %named_by, "a backend is reached through a proxy");
    }
    Ok((options, through))
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Upstream")
            .field("base_url", &redact::url(self.targets.base_url().as_str()))
            .finish_non_exhaustive()
    }
}
