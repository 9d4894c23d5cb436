//! The alerts of the gateway: what its monitor sees, and where its alerts go.
//!
//! Owns the way between the gateway and the monitor (`kebne-monitor`): a sample each second, a line of the log for each
//! opening and closing, and the webhook. The rules are in the monitor; nothing here decides.

mod outbox;
mod sampler;
mod signature;

use std::{convert::Infallible, time::Duration};

use kebne_actors::{ActorRef, Offer, Recipient};
use kebne_context::ContextHandle;
use kebne_monitor::{AlertChanged, Change, Monitor, Severity, Subscribe, TakeSample};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    alerts::outbox::Outbox,
    gateway::{Gateway, StartError},
    settings::{AlertSettings, Environment},
};

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// The watch over a gateway.
#[derive(Debug)]
pub struct Watching {
    gateway: Gateway,
    context: ContextHandle,
    monitor: ActorRef<Monitor>,
    started: Instant,
}

impl Watching {
    /// Subscribes the log and the webhook to the monitor of a gateway.
    ///
    /// # Errors
    /// Returns an error if the webhook cannot be made of its settings.
    pub fn start(
        gateway: &Gateway,
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
        Ok(Self {
            gateway: gateway.clone(),
            context: gateway.context().clone(),
            monitor,
            started: Instant::now(),
        })
    }

    /// Gives the monitor a sample each second, for ever.
    pub async fn run(&self) -> Infallible {
        let mut ticks = interval(EVERY);
        // A lane that does not answer delays a sample; those that were missed are of no use later.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let snapshot = self.gateway.snapshot().await;
            let seen = sampler::Seen {
                at: self.started.elapsed(),
                snapshot: &snapshot,
                lanes: self.gateway.lane_names(),
                store: self.context.health(),
            };
            let sample = sampler::sample(seen);
            // One sample less changes nothing.
            self.monitor.post(TakeSample(sample));
        }
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
