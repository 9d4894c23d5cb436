//! What `kebne consume` takes from a broker.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::{
    HumanDuration, SettingsError, Validate, join,
    kafka::is_topic,
    nats::{is_name, is_subject},
};

/// The broker from which calls come and to which answers go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broker {
    /// NATS, with the servers of `events.nats`.
    #[default]
    Nats,
    /// Kafka, with the brokers of `events.kafka`.
    Kafka,
}

/// Settings of `kebne consume`: messages of a broker become calls, and their answers messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumeSettings {
    /// The broker: `nats` or `kafka`, which need a build with the feature of that name; the servers are those of `events.nats` or `events.kafka`. Default
    /// `nats`.
    pub bus: Broker,
    /// The subject of the calls, which may have wildcards; with Kafka the topic. Default `kebne.calls`.
    pub subject: String,
    /// The stream of the calls, with NATS. It is created if there is none. Default `KEBNE_CALLS`.
    pub stream: String,
    /// The name of the subscription; with Kafka the consumer group. Gateways with the same one share the calls. Default `kebne`.
    pub name: String,
    /// The subject of the answers; with Kafka the topic. Default `kebne.answers`.
    pub answers: String,
    /// The subject of calls that cannot be answered, each with the reason; with Kafka the topic. Default `kebne.dead-letters`.
    pub dead_letters: String,
    /// The stream of answers and dead letters, with NATS. It is created if there is none. Default `KEBNE_ANSWERS`.
    pub answer_stream: String,
    /// The path to which calls are posted. Default `/v1/chat/completions`.
    pub path: String,
    /// The environment variable with the key of the gateway that the calls are made with. Default none, for a gateway without keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// The file with the key, in place of `key_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The calls that may run at once, whatever the lanes have room for; 1 to 10000. Default 256.
    pub at_once_max: usize,
    /// The time that the lanes have for one try of a call; at most `server.deadline_max`. 1s to 1h. Default 5m.
    pub deadline: HumanDuration,
    /// The failed tries after which a call becomes a dead letter; refusals of a lane that is cold, full or closed do not count. 1 to 100. Default 4.
    pub tries: u32,
    /// The time after which a call whose gateway has died is handed out again; 5s to 1h. Default 30s.
    pub acknowledge_within: HumanDuration,
}

impl Default for ConsumeSettings {
    fn default() -> Self {
        Self {
            bus: Broker::Nats,
            subject: "kebne.calls".to_owned(),
            stream: "KEBNE_CALLS".to_owned(),
            name: "kebne".to_owned(),
            answers: "kebne.answers".to_owned(),
            dead_letters: "kebne.dead-letters".to_owned(),
            answer_stream: "KEBNE_ANSWERS".to_owned(),
            path: "/v1/chat/completions".to_owned(),
            key_env: None,
            key_file: None,
            at_once_max: 256,
            deadline: HumanDuration(Duration::from_mins(5)),
            tries: 4,
            acknowledge_within: HumanDuration(Duration::from_secs(30)),
        }
    }
}

impl Validate for ConsumeSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let message = "must be parts of printable ASCII between dots";
        require(is_subject(&self.subject, true), "subject", message);
        let message = "must be parts of printable ASCII between dots, without `*` and `>`";
        require(is_subject(&self.answers, false), "answers", message);
        require(
            is_subject(&self.dead_letters, false),
            "dead_letters",
            message,
        );
        let message = "must be 1 to 64 letters, digits, `_` and `-`";
        require(is_name(&self.stream), "stream", message);
        require(is_name(&self.name), "name", message);
        require(is_name(&self.answer_stream), "answer_stream", message);
        let message = "must be another stream than `stream`";
        require(self.answer_stream != self.stream, "answer_stream", message);
        if self.bus == Broker::Kafka {
            let message = "must be 1 to 249 letters, digits, `.`, `_` and `-` with Kafka";
            require(is_topic(&self.subject), "subject", message);
            let message = "must be another topic than `subject`, in 1 to 249 letters, digits, `.`, `_` and `-`, with Kafka";
            for (key, topic) in [
                ("answers", &self.answers),
                ("dead_letters", &self.dead_letters),
            ] {
                require(is_topic(topic) && *topic != self.subject, key, message);
            }
        }
        let message = "must be a path such as `/v1/chat/completions`";
        let fits =
            self.path.starts_with('/') && self.path.bytes().all(|byte| byte.is_ascii_graphic());
        require(fits, "path", message);
        let fits = (1..=10_000).contains(&self.at_once_max);
        require(fits, "at_once_max", "must be 1 to 10000");
        require((1..=100).contains(&self.tries), "tries", "must be 1 to 100");
        let hour = Duration::from_hours(1);
        let fits = (Duration::from_secs(1)..=hour).contains(&self.deadline.0);
        require(fits, "deadline", "must be 1s to 1h");
        let fits = (Duration::from_secs(5)..=hour).contains(&self.acknowledge_within.0);
        require(fits, "acknowledge_within", "must be 5s to 1h");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_named() {
        assert_eq!(ConsumeSettings::default().validate("consume"), []);
        let wrong = ConsumeSettings {
            subject: "a b".to_owned(),
            answers: "a.>".to_owned(),
            dead_letters: String::new(),
            stream: String::new(),
            name: "a.b".to_owned(),
            answer_stream: String::new(),
            path: "v1".to_owned(),
            at_once_max: 0,
            deadline: HumanDuration(Duration::ZERO),
            tries: 0,
            acknowledge_within: HumanDuration(Duration::ZERO),
            ..ConsumeSettings::default()
        };
        let errors = wrong.validate("consume");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        for key in [
            "subject",
            "answers",
            "dead_letters",
            "stream",
            "name",
            "answer_stream",
            "path",
            "at_once_max",
            "deadline",
            "tries",
            "acknowledge_within",
        ] {
            assert!(paths.contains(&&*format!("consume.{key}")), "{key}");
        }
    }

    #[test]
    fn kafka_has_topics_without_wildcards_and_answers_elsewhere() {
        let wrong = ConsumeSettings {
            bus: Broker::Kafka,
            subject: "calls.>".to_owned(),
            answers: "a/b".to_owned(),
            dead_letters: "calls.>".to_owned(),
            ..ConsumeSettings::default()
        };
        let errors = wrong.validate("consume");
        for key in ["subject", "answers", "dead_letters"] {
            let path = format!("consume.{key}");
            assert!(errors.iter().any(|error| error.path == path), "{key}");
        }
        let fine = ConsumeSettings {
            bus: Broker::Kafka,
            ..ConsumeSettings::default()
        };
        assert_eq!(fine.validate("consume"), []);
    }
}
