//! The alerts of the gateway: what its monitor sees, and where its alerts go.
//!
//! Owns the way between the gateway and the monitor (`kebne-monitor`): each sample of the live view, a line of the log for
//! each opening and closing, the webhook, and what the monitor has done. The rules are in the monitor; nothing here decides.

mod executor;
mod outbox;
mod sampler;
mod signature;

use std::{convert::Infallible, future::pending};

use kebne_actors::{ActorRef, Offer, Recipient};
use kebne_monitor::{AlertChanged, CarryOut, Change, Monitor, Severity, Subscribe, TakeSample};
use tokio::time::Instant;

use crate::{
    alerts::{executor::executor, outbox::Outbox},
    gateway::{Gateway, StartError},
    live::Live,
    settings::{AlertSettings, Environment},
    shares::Shares,
    tally::Tally,
};

/// The watch over a gateway.
#[derive(Debug)]
pub struct Watching {
    gateway: Gateway,
    monitor: ActorRef<Monitor>,
    started: Instant,
}

impl Watching {
    /// Subscribes the log and the webhook to the monitor of a gateway, and has its commands carried out.
    ///
    /// # Errors
    /// Returns an error if the webhook cannot be made of its settings.
    pub fn start(
        gateway: &Gateway,
        shares: &Shares,
        settings: &AlertSettings,
        environment: &dyn Environment,
    ) -> Result<Self, StartError> {
        let monitor = gateway.monitor().clone();
        let mut subscribers = vec![Recipient::new(|changed| log(&changed))];
        if let Some(outbox) = Outbox::start(&settings.webhook, environment)? {
            subscribers.push(outbox);
        }
        for subscriber in subscribers {
            monitor.post(Subscribe(subscriber));
        }
        monitor.post(CarryOut(executor(gateway, shares)));
        Ok(Self {
            gateway: gateway.clone(),
            monitor,
            started: Instant::now(),
        })
    }

    /// Gives the monitor each sample of the live view, for ever.
    pub async fn run(&self, live: &Live, tally: &Tally) -> Infallible {
        let mut moments = live.watch();
        while moments.changed().await.is_ok() {
            let Some(moment) = moments.borrow_and_update().clone() else {
                continue;
            };
            let at = self.started.elapsed();
            let sample = sampler::sample(at, &moment, &self.gateway, tally);
            // One sample less changes nothing.
            self.monitor.post(TakeSample(sample));
        }
        // The view lives as long as the service.
        pending().await
    }
}

/// Writes the line of an alert that is opened or closed.
fn log(changed: &AlertChanged) -> Offer {
    let alert = &changed.alert;
    let (id, rule, subject) = (alert.id, alert.rule.name(), &*alert.subject);
    let (sentence, action) = (&alert.sentence, &alert.action);
    match (changed.change, alert.severity) {
        (Change::Closed, _) => {
            tracing::info!(target: "kebne::alert", id, rule, subject, "an alert was closed");
        }
        (Change::Opened, Severity::Critical) => {
            tracing::error!(target: "kebne::alert", id, rule, subject, sentence, action, "an alert was opened");
        }
        (Change::Opened, Severity::Warning) => {
            tracing::warn!(target: "kebne::alert", id, rule, subject, sentence, action, "an alert was opened");
        }
    }
    Offer::Enqueued
}
