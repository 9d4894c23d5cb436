//! The connection that everything kept in Redis has in common: one connection, which is made again when it is lost.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{
    Client, FromRedisValue, RedisError, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use crate::options::{Options, OptionsError};

/// Timeouts in a row after which the connection is made again. A network that swallows packets shows no other sign.
const TIMEOUTS_MAX: u32 = 3;
/// The shortest and the longest wait between two attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The reason why the server did not do something. What was asked may have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisFault {
    /// It does not answer in time.
    Slow(String),
    /// It cannot be reached, or refuses.
    Unavailable(String),
    /// What it holds under a key is something else.
    Damaged(String),
}

impl fmt::Display for RedisFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Slow(reason) | Self::Unavailable(reason) | Self::Damaged(reason)) = self;
        formatter.write_str(reason)
    }
}

impl std::error::Error for RedisFault {}

impl From<RedisError> for RedisFault {
    fn from(error: RedisError) -> Self {
        let reason = error.to_string();
        if error.is_timeout() {
            Self::Slow(reason)
        } else if error.code() == Some("WRONGTYPE") {
            Self::Damaged(reason)
        } else {
            Self::Unavailable(reason)
        }
    }
}

/// A connection to the server; clones share it.
#[derive(Clone)]
pub struct RedisConnection(Arc<Inner>);

struct Inner {
    client: Client,
    prefix: String,
    timeout: Duration,
    /// `None` until it is used for the first time.
    manager: Mutex<Option<ConnectionManager>>,
    timeouts: AtomicU32,
}

impl RedisConnection {
    /// Creates a connection, which is made when it is used for the first time. The server need not be there yet.
    ///
    /// # Errors
    /// Returns an error if the address is not one of Redis, or holds a password.
    pub fn new(options: &Options) -> Result<Self, OptionsError> {
        let info = options.info()?;
        let client = Client::open(info).map_err(|_| OptionsError::unusable())?;
        Ok(Self(Arc::new(Inner {
            client,
            prefix: options.prefix.clone(),
            timeout: options.timeout,
            manager: Mutex::default(),
            timeouts: AtomicU32::new(0),
        })))
    }

    /// Returns the begin of all names of keys.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    fn manager(&self) -> Result<ConnectionManager, RedisFault> {
        let mut manager = self.lock();
        if let Some(manager) = &*manager {
            return Ok(manager.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_min_delay(BACKOFF.0)
            .set_max_delay(BACKOFF.1)
            .set_number_of_retries(1)
            .set_connection_timeout(Some(self.0.timeout))
            .set_response_timeout(Some(self.0.timeout));
        let made = ConnectionManager::new_lazy_with_config(self.0.client.clone(), config)?;
        *manager = Some(made.clone());
        Ok(made)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ConnectionManager>> {
        let manager = self.0.manager.lock();
        manager.unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a script.
    ///
    /// # Errors
    /// Returns the reason why it has no result; it may have run.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFault> {
        let mut manager = self.manager()?;
        let result = invocation.invoke_async(&mut manager).await;
        match &result {
            Err(error) if error.is_timeout() => {
                if self.0.timeouts.fetch_add(1, Relaxed) + 1 >= TIMEOUTS_MAX {
                    self.0.timeouts.store(0, Relaxed);
                    *self.lock() = None;
                }
            }
            _ => self.0.timeouts.store(0, Relaxed),
        }
        Ok(result?)
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisConnection")
            .field("prefix", &self.0.prefix)
            .finish_non_exhaustive()
    }
}
