//! Events.

use kebne_event_bus::OutboxSettings;
use serde::{Deserialize, Serialize};

use crate::settings::{KafkaSettings, NatsSettings, SettingsError, Validate, join};

/// The bus to which events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusKind {
    /// The one in this process.
    #[default]
    Memory,
    /// A NATS stream as well.
    Nats,
    /// A Kafka topic as well.
    Kafka,
}

/// Settings of the events that the gateway emits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsSettings {
    /// Whether events are emitted. Default `true`.
    pub enabled: bool,
    /// The attribute `source` of all events, a URI reference; events of several gateways can be told apart by it. Default `/kebne`.
    pub source: String,
    /// Events that may wait to be written; further ones are lost and counted. 16 to 1000000. Default 8192.
    pub queue_max: usize,
    /// The last events, which are kept in memory for those who follow them; 1 to 1000000. Default 1000.
    pub recent_max: usize,
    /// The bus to which events go as well: `memory` (none outside this process), `nats` or `kafka`, which need a build with the feature of that name. Default
    /// `memory`.
    pub bus: BusKind,
    /// The file in which events wait for the bus outside; unused with `memory`.
    pub outbox: OutboxSettings,
    /// The servers of NATS.
    pub nats: NatsSettings,
    /// The brokers of Kafka.
    pub kafka: KafkaSettings,
}

impl Default for EventsSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            source: "/kebne".to_owned(),
            queue_max: 8192,
            recent_max: 1000,
            bus: BusKind::Memory,
            outbox: OutboxSettings::default(),
            nats: NatsSettings::default(),
            kafka: KafkaSettings::default(),
        }
    }
}

impl Validate for EventsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let is_uri =
            !self.source.is_empty() && self.source.bytes().all(|byte| byte.is_ascii_graphic());
        require(is_uri, "source", "must be a URI reference such as `/kebne`");
        let fits = (16..=1_000_000).contains(&self.queue_max);
        require(fits, "queue_max", "must be 16 to 1000000");
        let fits = (1..=1_000_000).contains(&self.recent_max);
        require(fits, "recent_max", "must be 1 to 1000000");
        let is_built = self.bus != BusKind::Nats || cfg!(feature = "nats");
        let message = "this build has no NATS: it was made without the feature `nats`";
        require(is_built, "bus", message);
        let is_built = self.bus != BusKind::Kafka || cfg!(feature = "kafka");
        let message = "this build has no Kafka: it was made without the feature `kafka`";
        require(is_built, "bus", message);
        errors.extend(self.outbox.validate(&join(path, "outbox")));
        errors.extend(self.nats.validate(&join(path, "nats")));
        errors.extend(self.kafka.validate(&join(path, "kafka")));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_named() {
        let settings = EventsSettings {
            source: "a b".to_owned(),
            queue_max: 1,
            recent_max: 0,
            ..EventsSettings::default()
        };
        let errors = settings.validate("events");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        for path in ["events.source", "events.queue_max", "events.recent_max"] {
            assert!(paths.contains(&path), "{path}: {paths:?}");
        }
        assert_eq!(EventsSettings::default().validate("events"), []);
    }
}
