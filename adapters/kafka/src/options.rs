//! How the brokers are reached, and the topics.

use std::{fmt, path::PathBuf, time::Duration};

use krafka::{
    Kafka, KafkaBuilder,
    auth::{AuthConfig, TlsConfig},
};

/// The topics of Kafka in which messages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// All messages are in this topic; the topic of a message is in its header `kebne-topic`.
    One(String),
    /// The topic of a message is that of Kafka, one of these.
    Named(Vec<String>),
}

/// The way in which a user is authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mechanism {
    /// SASL PLAIN, which sends the password.
    Plain,
    /// SASL SCRAM with SHA-256.
    ScramSha256,
    /// SASL SCRAM with SHA-512.
    #[default]
    ScramSha512,
}

/// A user of the brokers.
#[derive(Clone)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
    /// The way in which it is shown.
    pub mechanism: Mechanism,
}

/// The certificates that are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that browsers trust.
    Public,
    /// Only those that are signed by a certificate of this file, in PEM.
    File(PathBuf),
}

/// How the brokers are reached, and the topics.
#[derive(Clone)]
pub struct Options {
    /// The addresses of some of the brokers, such as `127.0.0.1:9092`.
    pub servers: Vec<String>,
    /// The name by which the brokers know this client.
    pub name: String,
    /// Whose certificates are trusted; `None` for connections without TLS.
    pub tls: Option<Trust>,
    /// The user, if the brokers want one.
    pub user: Option<User>,
    /// The topics. They are created if there are none.
    pub topics: Topics,
    /// The partitions of a topic that is created.
    pub partitions: u16,
    /// The brokers that keep a copy of a topic that is created.
    pub replicas: u16,
    /// The age after which messages leave a topic that is created; zero for never.
    pub age_max: Duration,
    /// The bytes that each partition of a topic that is created may have; then the oldest messages leave.
    pub bytes_max: u64,
    /// The time in which a message is not published again. What was published within it is read before the first message is published.
    pub duplicate_window: Duration,
    /// Whether what others publish is read all the time, so that it is not published again by this process either.
    pub is_shared: bool,
    /// The header `content-type` of messages.
    pub content_type: Option<String>,
    /// The time in which the brokers must answer.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: vec!["127.0.0.1:9092".to_owned()],
            name: "kebne".to_owned(),
            tls: None,
            user: None,
            topics: Topics::One("kebne".to_owned()),
            partitions: 8,
            replicas: 1,
            age_max: Duration::ZERO,
            bytes_max: 1 << 30,
            duplicate_window: Duration::from_mins(2),
            is_shared: false,
            content_type: None,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Options {
    pub(crate) fn to_client(&self) -> KafkaBuilder {
        Kafka::builder(self.servers.join(","))
            .client_id(&self.name)
            .security(self.security())
            .connect_timeout(self.timeout)
            .request_timeout(self.timeout)
            // A broker that was replaced is noticed soon.
            .metadata_max_age(Duration::from_secs(30))
    }

    fn security(&self) -> AuthConfig {
        let security = match &self.user {
            None => AuthConfig::plaintext(),
            Some(user) => match user.mechanism {
                Mechanism::Plain => AuthConfig::sasl_plain(&user.name, &user.password),
                Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(&user.name, &user.password),
                Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(&user.name, &user.password),
            },
        };
        match &self.tls {
            None => security,
            Some(Trust::Public) => security.with_tls(TlsConfig::new()),
            Some(Trust::File(path)) => {
                let path = path.to_string_lossy().into_owned();
                security.with_tls(TlsConfig::new().with_ca_cert(path))
            }
        }
    }
}

impl Topics {
    /// Returns the topics of Kafka.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Named(names) => names,
        }
    }
}

/// Without the password.
impl fmt::Debug for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("User");
        shown.field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Options");
        shown.field("servers", &self.servers);
        shown.field("topics", &self.topics).finish_non_exhaustive()
    }
}
