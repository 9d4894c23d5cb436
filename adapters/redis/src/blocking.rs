//! A connection for stores that may block, which are called on a thread of their own.

use std::{fmt, time::Duration};

use redis::{Client, Connection, FromRedisValue, Pipeline, ScriptInvocation};

use crate::{
    connection::RedisFault,
    options::{Options, OptionsError},
};

/// A connection, which is made when it is used and made again after each failure: what is still to come on the old one is the answer to
/// something else.
pub(crate) struct BlockingConnection {
    client: Client,
    timeout: Duration,
    open: Option<Connection>,
}

impl BlockingConnection {
    pub(crate) fn new(options: &Options) -> Result<Self, OptionsError> {
        let client = Client::open(options.info()?).map_err(|_| OptionsError::unusable())?;
        Ok(Self {
            client,
            timeout: options.timeout,
            open: None,
        })
    }

    fn opened(&mut self) -> Result<&mut Connection, RedisFault> {
        let open = if let Some(open) = self.open.take() {
            open
        } else {
            let made = self.client.get_connection_with_timeout(self.timeout)?;
            made.set_read_timeout(Some(self.timeout))?;
            made.set_write_timeout(Some(self.timeout))?;
            made
        };
        Ok(self.open.insert(open))
    }

    /// Runs a script.
    ///
    /// # Errors
    /// Returns the reason why it has no result; it may have run.
    pub(crate) fn run<T: FromRedisValue>(
        &mut self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisFault> {
        let result = script.invoke(self.opened()?);
        self.closed_after(result)
    }

    /// Runs several commands in one round trip.
    ///
    /// # Errors
    /// As [`BlockingConnection::run`]; some of them may have run.
    pub(crate) fn query<T: FromRedisValue>(
        &mut self,
        commands: &Pipeline,
    ) -> Result<T, RedisFault> {
        let result = commands.query(self.opened()?);
        self.closed_after(result)
    }

    fn closed_after<T>(&mut self, result: redis::RedisResult<T>) -> Result<T, RedisFault> {
        if result.is_err() {
            self.open = None;
        }
        Ok(result?)
    }
}

impl fmt::Debug for BlockingConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BlockingConnection")
            .finish_non_exhaustive()
    }
}
