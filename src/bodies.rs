//! The memory for request bodies, and the reading of bodies within it.
//!
//! There is one budget for the whole process. A body takes its share as it grows, and gives it back when the last
//! reference to its bytes is dropped: in a queue, at a backend, or in a session's turn. A body that does not fit is
//! refused before it is read if its length is known, and otherwise while it is read.
//!
//! A part of the budget is reserved for small bodies, so that large bodies that arrive slowly cannot block the small
//! ones.

use std::sync::Arc;

use actix_web::{
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderMap},
    web::Payload,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{settings::ServerSettings, surface::error::ApiError};

/// A body of at most this size is small. To parse it takes less time than a switch of threads.
pub const SMALL: usize = 64 << 10;
/// The reciprocal of the share of the budget that is reserved for small bodies.
const SMALL_SHARE: usize = 4;
/// The smallest share that a body takes, because its connection and its call cost about as much too.
const LEAST: usize = 4 << 10;
/// The size of the buffer of a connection that receives a large body.
const BUFFER: usize = 128 << 10;

/// The budget of bytes in request bodies; shared by all threads.
#[derive(Clone, Debug)]
pub struct Bodies {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    total: usize,
    size_max: usize,
    time_max: std::time::Duration,
}

/// A body that is being read.
struct Growing {
    bytes: Vec<u8>,
    permits: Vec<OwnedSemaphorePermit>,
    /// The pools from which the body may take its share, in order.
    pools: Vec<Arc<Semaphore>>,
    /// The largest capacity of the buffer.
    size_max: usize,
}

/// A body and its share of the budget.
struct Held {
    bytes: Vec<u8>,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Creates the budget of the settings.
    pub fn new(settings: &ServerSettings) -> Self {
        let total = settings.bodies_size_max.as_usize();
        let small = total / SMALL_SHARE;
        Self {
            small: Arc::new(Semaphore::new(small)),
            large: Arc::new(Semaphore::new(total - small)),
            total,
            size_max: settings.body_size_max.as_usize(),
            time_max: settings.request_timeout.0,
        }
    }

    /// Returns the bytes that bodies hold now.
    pub fn held(&self) -> usize {
        let free = self.small.available_permits() + self.large.available_permits();
        self.total.saturating_sub(free)
    }

    /// Reads a body of at most `body_size_max`, within the time that the settings allow.
    ///
    /// # Errors
    /// See [`Bodies::read_at_most`].
    pub async fn read(&self, headers: &HeaderMap, payload: Payload) -> Result<Bytes, ApiError> {
        self.read_at_most(self.size_max, headers, payload).await
    }

    /// Reads a body of at most `size_max` bytes.
    ///
    /// # Errors
    /// Returns 413 if the body is larger, 503 if there is no memory for it now, and 408 if it does not arrive in time.
    pub async fn read_at_most(
        &self,
        size_max: usize,
        headers: &HeaderMap,
        payload: Payload,
    ) -> Result<Bytes, ApiError> {
        let size_max = size_max.min(self.size_max);
        let growing = self.begin(length(headers), size_max)?;
        // Given back when the body has arrived, because the connection then no longer needs its buffer.
        let _buffer = growing.buffer()?;
        let read = tokio::time::timeout(self.time_max, growing.read(payload)).await;
        read.map_err(|_| ApiError::slow_request())?
    }

    /// Checks, by the announced length, whether a body can be read.
    ///
    /// # Errors
    /// Returns 413 if the body is too large, and 503 if there is no memory for it now.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        self.begin(length(headers), self.size_max).map(drop)
    }

    /// Charges bytes that were created here, such as a call with its history, to the budget.
    ///
    /// # Errors
    /// Returns 503 if there is no memory for them now.
    pub fn hold(&self, bytes: Bytes) -> Result<Bytes, ApiError> {
        let mut growing = self.begin(Some(bytes.len()), usize::MAX)?;
        growing.take(bytes.len())?;
        Ok(Bytes::from_owner(HeldBytes {
            bytes,
            _permits: growing.permits,
        }))
    }

    fn begin(&self, length: Option<usize>, size_max: usize) -> Result<Growing, ApiError> {
        if length.is_some_and(|length| length > size_max) {
            return Err(ApiError::too_large(size_max));
        }
        let mut pools = vec![Arc::clone(&self.large)];
        if length.is_some_and(|length| length <= SMALL) {
            pools.insert(0, Arc::clone(&self.small));
        }
        let mut needed = length.unwrap_or(LEAST).max(LEAST);
        if pools.len() == 1 {
            needed = needed.saturating_add(BUFFER);
        }
        if !pools.iter().any(|pool| pool.available_permits() >= needed) {
            return Err(ApiError::no_memory());
        }
        Ok(Growing {
            bytes: Vec::new(),
            permits: Vec::new(),
            pools,
            size_max: length.unwrap_or(size_max),
        })
    }
}

impl Growing {
    /// Takes the share of the connection's buffer while it receives a large body.
    fn buffer(&self) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if self.pools.len() > 1 {
            return Ok(None);
        }
        let buffer = u32::try_from(BUFFER).unwrap_or(u32::MAX);
        let pool = self.pools.first().map(Arc::clone);
        let permit = pool.and_then(|pool| pool.try_acquire_many_owned(buffer).ok());
        permit.map(Some).ok_or_else(ApiError::no_memory)
    }

    async fn read(mut self, mut payload: Payload) -> Result<Bytes, ApiError> {
        while let Some(part) = payload.next().await {
            let part = part.map_err(|error| broken(&error))?;
            self.add(&part)?;
        }
        Ok(Bytes::from_owner(Held {
            bytes: self.bytes,
            _permits: self.permits,
        }))
    }

    fn add(&mut self, part: &[u8]) -> Result<(), ApiError> {
        let size = self.bytes.len().saturating_add(part.len());
        if size > self.size_max {
            return Err(ApiError::too_large(self.size_max));
        }
        let capacity = self.bytes.capacity();
        if size > capacity {
            // The capacity is doubled each time, so that a body is copied only a few times, and never exceeds what can
            // arrive.
            let wanted = size.max(capacity * 2).max(LEAST).min(self.size_max);
            self.take(wanted - capacity)?;
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Takes this number of further bytes of the budget, from the first pool that has them.
    fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        let bytes = u32::try_from(bytes).map_err(|_| ApiError::no_memory())?;
        let mut pools = self.pools.iter().map(Arc::clone);
        let permit = pools.find_map(|pool| pool.try_acquire_many_owned(bytes).ok());
        self.permits.push(permit.ok_or_else(ApiError::no_memory)?);
        Ok(())
    }
}

/// Returns the error for a body that cannot be received.
fn broken(error: &PayloadError) -> ApiError {
    let message = match error {
        PayloadError::Incomplete(_) | PayloadError::Io(_) => {
            "the request body ends too early, or its chunks are not valid"
        }
        _ => "the request body cannot be received",
    };
    ApiError::bad_request(None, message).detail_of(error)
}

/// Returns the announced length of the body.
fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bytes created elsewhere, and their share of the budget.
struct HeldBytes {
    bytes: Bytes,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
