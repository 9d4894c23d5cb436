//! The memory that request bodies may take, and reading them within it.
//!
//! One budget holds for the whole process. A body takes its share as it grows and gives it back when the last reference
//! to its bytes is gone, wherever that is: in a queue, at a backend, in a session's turn. A body that does not fit is
//! refused before it is read, when its length is known, and while it is read otherwise.
//!
//! A part of the budget is for small bodies only, so that large ones that arrive slowly cannot keep out the small ones.

use std::sync::Arc;

use actix_web::{
    http::header::{CONTENT_LENGTH, HeaderMap},
    web::Payload,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{settings::ServerSettings, surface::error::ApiError};

/// A body of at most this size is a small one. Parsing it takes less time than a switch of threads.
pub const SMALL: usize = 64 << 10;
/// One part in so many of the budget is for small bodies only.
const SMALL_SHARE: usize = 4;
/// The least that a body takes: its connection and its call cost about that much too.
const LEAST: usize = 4 << 10;
/// What the buffer of a connection takes that receives a large body.
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
    /// The pools that the body may take from, in order.
    pools: Vec<Arc<Semaphore>>,
    /// The capacity is never made larger than this.
    size_max: usize,
}

/// A body and its share of the budget.
struct Held {
    bytes: Vec<u8>,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Bodies {
    /// Creates the budget that the settings name.
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
    /// 413 when the body is larger, 503 when there is no memory for it now, 408 when it does not arrive in time.
    pub async fn read_at_most(
        &self,
        size_max: usize,
        headers: &HeaderMap,
        payload: Payload,
    ) -> Result<Bytes, ApiError> {
        let size_max = size_max.min(self.size_max);
        let growing = self.begin(length(headers), size_max)?;
        // Given back when the body is there: the connection then needs its buffer no longer.
        let _buffer = growing.buffer()?;
        let read = tokio::time::timeout(self.time_max, growing.read(payload)).await;
        read.map_err(|_| ApiError::slow_request())?
    }

    /// Checks whether a body can be read at all, by the length that its caller announces.
    ///
    /// # Errors
    /// 413 when the body is too large, 503 when there is no memory for it now.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        self.begin(length(headers), self.size_max).map(drop)
    }

    /// Charges bytes that were made here, such as a call with its history, to the budget.
    ///
    /// # Errors
    /// 503 when there is no memory for them now.
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
    /// Takes what the connection's buffer needs while it receives a large body.
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
            let part = part.map_err(|error| {
                ApiError::bad_request(None, format!("the body broke off: {error}"))
            })?;
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
            // Twice as much each time, so that a body is copied only a few times; never more than can come.
            let wanted = size.max(capacity * 2).max(LEAST).min(self.size_max);
            self.take(wanted - capacity)?;
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// Takes this many bytes more of the budget, from the first pool that has them.
    fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        let bytes = u32::try_from(bytes).map_err(|_| ApiError::no_memory())?;
        let mut pools = self.pools.iter().map(Arc::clone);
        let permit = pools.find_map(|pool| pool.try_acquire_many_owned(bytes).ok());
        self.permits.push(permit.ok_or_else(ApiError::no_memory)?);
        Ok(())
    }
}

/// Returns the length that a caller announces.
fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Bytes made elsewhere, and their share of the budget.
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
