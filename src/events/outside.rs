//! The bus outside this process: the outbox in front of it, and the task that publishes what waits there.

use std::sync::Arc;

use kebne_event_bus::{
    EventBus, Outbox, OutboxCounts, OutboxParts, Relay, RelayCounts, RelayReport,
};
use serde::Serialize;

use crate::{
    events::StartEventsError,
    gateway::keyring_of,
    settings::{Environment, EventsSettings, events::BusKind},
};

/// The way of events out of this process; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    pub(super) outbox: Outbox,
    relayed: RelayCounts,
}

/// What waits for the bus, and what it has.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OutsideReport {
    /// The events that wait in the outbox.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Events that were lost because the outbox was full.
    pub dropped: u64,
    /// Events that were lost because the file failed.
    pub failed: u64,
    /// Why the file does not work; `None` while it does.
    pub outbox_reason: Option<String>,
    /// What was published.
    #[serde(flatten)]
    pub relayed: RelayReport,
}

impl Outside {
    /// Opens the outbox and begins to publish, if the settings name a bus.
    pub(super) async fn start(
        settings: &EventsSettings,
        environment: &dyn Environment,
    ) -> Result<Option<Self>, StartEventsError> {
        let Some(bus) = bus(settings, environment).await? else {
            return Ok(None);
        };
        let outbox = &settings.outbox;
        let files = (&outbox.key_file, &outbox.old_keys_file);
        let variables = (&*outbox.key_env, &*outbox.old_keys_env);
        let keyring = keyring_of(files, variables, environment);
        let keyring = keyring.map_err(|(key, reason)| StartEventsError::Key { key, reason })?;
        let outbox = Outbox::start(OutboxParts {
            settings: outbox.clone(),
            keyring,
        })?;
        let relay = Relay::new(outbox.clone(), bus);
        let relayed = relay.counts();
        actix_rt::spawn(relay.run());
        Ok(Some(Self { outbox, relayed }))
    }

    pub(super) fn report(&self) -> OutsideReport {
        let OutboxCounts {
            waiting,
            bytes,
            dropped,
            failed,
            reason,
        } = self.outbox.counts();
        OutsideReport {
            waiting,
            waiting_bytes: bytes,
            dropped,
            failed,
            outbox_reason: reason,
            relayed: self.relayed.report(),
        }
    }
}

/// Connects to the bus that the settings name; `None` if events stay in this process.
#[cfg_attr(
    not(feature = "nats"),
    expect(clippy::unused_async, reason = "only NATS connects at once")
)]
#[cfg_attr(
    not(feature = "broker"),
    expect(unused_variables, reason = "there is no bus to connect to")
)]
async fn bus(
    settings: &EventsSettings,
    environment: &dyn Environment,
) -> Result<Option<Arc<dyn EventBus>>, StartEventsError> {
    match settings.bus {
        BusKind::Memory => Ok(None),
        #[cfg(feature = "nats")]
        BusKind::Nats => {
            let nats = &settings.nats;
            let options = kebne_nats::Options {
                stream: nats.stream.clone(),
                prefix: format!("{}.", nats.subject),
                ..crate::nats::options(nats, environment)?
            };
            let bus = kebne_nats::NatsBus::connect(options).await?;
            Ok(Some(Arc::new(bus)))
        }
        #[cfg(feature = "kafka")]
        BusKind::Kafka => {
            let kafka = &settings.kafka;
            let options = kebne_kafka::Options {
                topics: kebne_kafka::Topics::One(kafka.topic.clone()),
                ..crate::kafka::options(kafka, environment)?
            };
            Ok(Some(Arc::new(kebne_kafka::KafkaBus::new(options))))
        }
        // The settings are refused before.
        #[cfg(not(feature = "nats"))]
        BusKind::Nats => Ok(None),
        #[cfg(not(feature = "kafka"))]
        BusKind::Kafka => Ok(None),
    }
}
