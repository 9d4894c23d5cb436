//! How the servers are reached, and the stream.

use std::{fmt, time::Duration};

use async_nats::ConnectOptions;

use crate::RECONNECT_MAX;

/// How the servers are reached, and the stream.
#[derive(Clone)]
pub struct Options {
    /// The addresses of the servers, such as `nats://127.0.0.1:4222`, or `tls://` with TLS.
    pub servers: Vec<String>,
    /// The name by which the servers know this client.
    pub name: String,
    /// The token, if the servers want one.
    pub token: Option<String>,
    /// The user and the password, if the servers want them.
    pub user: Option<(String, String)>,
    /// The stream. It is created if there is none.
    pub stream: String,
    /// What stands before topics in subjects: empty, or parts that end with a dot.
    pub prefix: String,
    /// The subjects of a stream that is created; if there are none, all after the prefix.
    pub subjects: Vec<String>,
    /// The servers that keep a copy of a stream that is created.
    pub replicas: usize,
    /// The age after which messages leave a stream that is created; zero for never.
    pub age_max: Duration,
    /// The bytes that a stream that is created may have; then the oldest messages leave.
    pub bytes_max: u64,
    /// The time in which a stream that is created drops messages with an id that it has.
    pub duplicate_window: Duration,
    /// The time in which the servers must answer.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            name: "kebne".to_owned(),
            token: None,
            user: None,
            stream: "KEBNE".to_owned(),
            prefix: String::new(),
            subjects: Vec::new(),
            replicas: 1,
            age_max: Duration::ZERO,
            bytes_max: 1 << 30,
            duplicate_window: Duration::from_mins(2),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Options {
    pub(crate) fn subjects(&self) -> Vec<String> {
        if self.subjects.is_empty() {
            return vec![format!("{}>", self.prefix)];
        }
        self.subjects.clone()
    }

    pub(crate) fn to_connect(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .connection_timeout(self.timeout)
            .request_timeout(Some(self.timeout))
            // A server that hangs is noticed by two pings without an answer.
            .ping_interval(Duration::from_secs(10))
            .retry_on_initial_connect()
            .reconnect_delay_callback(|tries| {
                let tries = u32::try_from(tries.min(8)).unwrap_or(8);
                (Duration::from_millis(20) * 2_u32.saturating_pow(tries)).min(RECONNECT_MAX)
            });
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some((user, password)) = &self.user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        options
    }
}

/// Without the secrets.
impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Options");
        shown.field("stream", &self.stream);
        shown.field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
