//! The alerts of the gateway: what its monitor sees, and where its alerts go.
//!
//! Owns the way between the gateway and the monitor (`kebne-monitor`): each sample of the live view, a line of the log for
//! each opening and closing, the webhook, and what the monitor has done. The rules are in the monitor; nothing here decides.

mod access;
mod executor;
mod outbox;
mod sampler;

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kebne_actors::{ActorRef, Offer, Recipient};
use kebne_monitor::{
    AlertChanged, CarryOut, Change, ChangeAccess, ChangeSettings, Monitor, Severity, Subscribe,
    TakeSample,
};
use tokio::time::Instant;

use crate::{
    alerts::{access::access, executor::executor, outbox::Outbox},
    gateway::{Gateway, StartError},
    live::Live,
    settings::{Environment, Settings},
    shares::Shares,
    tally::Tally,
    tls::Certificates,
};

/// The watch over a gateway.
#[derive(Debug)]
pub struct Watching {
    gateway: Gateway,
    monitor: ActorRef<Monitor>,
    webhook: Webhook,
    /// Where the service listens.
    address: SocketAddr,
    started: Instant,
}

/// The outbox of the webhook, if there is one; clones share it.
#[derive(Clone, Debug, Default)]
struct Webhook(Arc<Mutex<Option<Recipient<AlertChanged>>>>);

impl Watching {
    /// Subscribes the log and the webhook to the monitor of a gateway that listens at `address`, and has its commands carried out.
    ///
    /// # Errors
    /// Returns an error if the webhook cannot be made of its settings.
    pub fn start(
        gateway: &Gateway,
        shares: &Shares,
        address: SocketAddr,
        settings: &Settings,
        environment: &dyn Environment,
    ) -> Result<Self, StartError> {
        let monitor = gateway.monitor().clone();
        let webhook = Webhook::default();
        webhook.replace(Outbox::start(&settings.alerts.webhook, environment)?);
        monitor.post(ChangeAccess(access(address, &settings.server)));
        for subscriber in [Recipient::new(|changed| log(&changed)), webhook.recipient()] {
            monitor.post(Subscribe(subscriber));
        }
        monitor.post(CarryOut(executor(gateway, shares)));
        Ok(Self {
            gateway: gateway.clone(),
            monitor,
            webhook,
            address,
            started: Instant::now(),
        })
    }

    /// Prepares a change to other settings.
    ///
    /// # Errors
    /// Returns an error if the webhook cannot be made of its settings; nothing has changed then.
    pub fn prepare(
        &self,
        settings: &Settings,
        environment: &dyn Environment,
    ) -> Result<Prepared, StartError> {
        let alerts = &settings.alerts;
        Ok(Prepared {
            outbox: Outbox::start(&alerts.webhook, environment)?,
            access: ChangeAccess(access(self.address, &settings.server)),
            change: ChangeSettings {
                rules: alerts.rules.clone(),
                actions: alerts.actions.clone(),
            },
        })
    }

    /// Follows other settings from now on. Events that wait in the outbox are still sent to where they were to go.
    pub fn change(&self, prepared: Prepared) {
        self.webhook.replace(prepared.outbox);
        self.monitor.post(prepared.access);
        self.monitor.post(prepared.change);
    }

    /// Gives the monitor each sample of the live view, for ever.
    pub async fn run(
        &self,
        live: &Live,
        tally: &Tally,
        certificates: Option<&Certificates>,
    ) -> Infallible {
        let mut moments = live.watch();
        while moments.changed().await.is_ok() {
            let Some(moment) = moments.borrow_and_update().clone() else {
                continue;
            };
            let at = self.started.elapsed();
            let mut sample = sampler::sample(at, &moment, &self.gateway, tally);
            sample.stores = sampler::stores(&self.gateway, live);
            sample.certificate_expires_at = certificates.map(Certificates::expires_at);
            // One sample less changes nothing.
            self.monitor.post(TakeSample(sample));
        }
        // The view lives as long as the service.
        pending().await
    }
}

/// A change that can be made.
#[derive(Debug)]
pub struct Prepared {
    outbox: Option<Recipient<AlertChanged>>,
    access: ChangeAccess,
    change: ChangeSettings,
}

impl Webhook {
    /// Returns a recipient that passes events on to the outbox of the moment.
    fn recipient(&self) -> Recipient<AlertChanged> {
        let webhook = self.clone();
        Recipient::new(move |changed| match &*webhook.lock() {
            Some(outbox) => outbox.tell(changed),
            None => Offer::Enqueued,
        })
    }

    fn replace(&self, outbox: Option<Recipient<AlertChanged>>) {
        *self.lock() = outbox;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Recipient<AlertChanged>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the line of an alert that is opened or closed.
fn log(changed: &AlertChanged) -> Offer {
    let alert = &changed.alert;
    let (id, rule, subject) = (alert.id, alert.rule.name(), &*alert.subject);
    let (sentence, action) = (&alert.sentence, &alert.action);
    match (changed.change, alert.severity) {
        (Change::Closed, _) => {
            tracing::info!(target: "kebne::alert", id, rule, subject, sentence, "an alert was closed");
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
