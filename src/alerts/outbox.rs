//! The webhook: a bounded outbox, and a task that posts its events one after the other.
//!
//! It has a client of its own and uses no lane, so that a receiver that is dead or slow costs the service nothing: events
//! wait in the outbox, and beyond its bound they are dropped and logged. An event is tried several times with a growing
//! wait. Its id stays the same, so that a receiver can ignore what it already has.

use std::time::Duration;

use kebne_actors::{Offer, Recipient};
use kebne_monitor::{AlertChanged, Change};
use reqwest::{Client, Url};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    backend::upstream::client,
    gateway::StartError,
    settings::{Environment, WebhookSettings},
    unix_time,
    webhook_signature::Signer,
};

/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// The task that posts.
pub(super) struct Outbox {
    client: Client,
    url: Url,
    signer: Signer,
    timeout: Duration,
    tries: u32,
    backoff: Duration,
    /// Distinguishes the events of this process from those of others.
    process: String,
    events: mpsc::Receiver<AlertChanged>,
}

/// The reason why a try failed.
#[derive(Debug, thiserror::Error)]
enum TryError {
    /// The receiver answered with another status than a success.
    #[error("the receiver answered {0}")]
    Status(u16),
    /// There was no answer. The error is without the address, which may hold a secret.
    #[error("{}", within(.0))]
    NoAnswer(#[source] reqwest::Error),
}

impl Outbox {
    /// Starts the webhook, or returns `None` if the settings have no URL.
    ///
    /// # Errors
    /// Returns an error if the settings cannot be used.
    pub(super) fn start(
        settings: &WebhookSettings,
        environment: &dyn Environment,
    ) -> Result<Option<Recipient<AlertChanged>>, StartError> {
        let secret = settings.secret(environment).map_err(StartError::Webhook)?;
        let (Some(url), Some(secret)) = (&settings.url, secret) else {
            return Ok(None);
        };
        let wrong = |error: &dyn std::error::Error| StartError::Webhook(error.to_string());
        let url = Url::parse(url.expose()).map_err(|error| wrong(&error))?;
        let client = client(settings.timeout.0, url.scheme() == "https");
        let (inbox, events) = mpsc::channel(settings.outbox_max);
        let outbox = Self {
            client: client.map_err(|error| wrong(&error.without_url()))?,
            url,
            signer: Signer::new(&secret),
            timeout: settings.timeout.0,
            tries: settings.tries,
            backoff: settings.backoff.0,
            process: format!("{:016x}", fastrand::u64(..)),
            events,
        };
        actix_rt::spawn(outbox.run());
        let offer = move |changed: AlertChanged| match inbox.try_send(changed) {
            Ok(()) => Offer::Enqueued,
            Err(error) => {
                let id = error.into_inner().alert.id;
                tracing::warn!(
                    id,
                    "the webhook's outbox is full; an event of an alert is not sent"
                );
                Offer::Dropped
            }
        };
        Ok(Some(Recipient::new(offer)))
    }

    async fn run(mut self) {
        while let Some(changed) = self.events.recv().await {
            self.deliver(&changed).await;
        }
    }

    /// Posts one event until it is taken or the tries are used up.
    async fn deliver(&self, changed: &AlertChanged) {
        let (id, body) = self.message(changed);
        let mut wait = self.backoff;
        for number in 1..=self.tries {
            let error = match self.attempt(&id, &body).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if number == self.tries {
                tracing::warn!(id, tries = number, %error, "the webhook's receiver did not take an event of an alert");
                return;
            }
            tracing::debug!(id, number, %error, "the webhook is tried again");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Returns the id and the body of an event.
    fn message(&self, changed: &AlertChanged) -> (String, String) {
        let (kind, at) = match changed.change {
            Change::Opened => ("alert.opened", Some(changed.alert.since)),
            Change::Closed => ("alert.closed", changed.alert.until),
        };
        let id = format!("{kind}.{}.{}", self.process, changed.alert.id);
        let body = json!({"type": kind, "timestamp": at, "data": changed.alert});
        (id, body.to_string())
    }

    async fn attempt(&self, id: &str, body: &str) -> Result<(), TryError> {
        let timestamp = unix_time::seconds();
        let signature = self.signer.sign(id, timestamp, body).unwrap_or_default();
        let request = self
            .client
            .post(self.url.clone())
            .timeout(self.timeout)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body.to_owned());
        let answer = request.send().await;
        let answer = answer.map_err(|error| TryError::NoAnswer(error.without_url()))?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(TryError::Status(answer.status().as_u16()))
        }
    }
}

/// Returns an error with its causes.
fn within(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
