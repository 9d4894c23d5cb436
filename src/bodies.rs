//! The memory for request bodies, and the reading of bodies within it.
//!
//! There is one budget for the whole process. A body takes its share as it grows, and gives it back when the last
//! reference to its bytes is dropped: in a queue, at a backend, or in a session's turn. A body that does not fit is
//! refused before it is read if its length is known, and otherwise while it is read.
//!
//! A part of the budget is reserved for small bodies, so that large bodies that arrive slowly cannot block the small
//! ones.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use actix_web::{
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderMap},
    web::Payload,
};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::{
    memory::{self, ByteBudget, NoMemory, SMALL, Share},
    settings::ServerSettings,
    surface::error::ApiError,
};

/// The reciprocal of the share of the budget that is reserved for small bodies.
const SMALL_SHARE: usize = 4;
/// The smallest share that a body takes, because its connection and its call cost about as much too.
const LEAST: usize = 4 << 10;
/// What a connection takes while it receives a large body, beside the body: the state of the call, the 8 KiB that are read
/// at once, what waits to be taken from them, and the smaller buffers in which the body was before and which the
/// allocator has not given back.
const BUFFER: usize = 44 << 10;

/// The budget of bytes in request bodies; shared by all threads.
#[derive(Clone, Debug)]
pub struct Bodies {
    small: ByteBudget,
    large: ByteBudget,
    size_max: Arc<AtomicUsize>,
    time_max: std::time::Duration,
}

/// A body that is being read.
struct Growing {
    bytes: Vec<u8>,
    /// The share of the budget of small bodies, which only a small one may take.
    small: Option<Share>,
    /// The share of the budget of all bodies.
    large: Share,
    /// The largest capacity of the buffer.
    size_max: usize,
}

impl Bodies {
    /// Creates the budget of the settings.
    pub fn new(settings: &ServerSettings) -> Self {
        let total = settings.bodies_size_max.as_usize();
        let small = total / SMALL_SHARE;
        Self {
            small: ByteBudget::new(small),
            large: ByteBudget::new(total - small),
            size_max: Arc::new(AtomicUsize::new(settings.body_size_max.as_usize())),
            time_max: settings.request_timeout.0,
        }
    }

    /// Changes the size of the largest body. The budget of all bodies stays.
    pub fn set_size_max(&self, size_max: usize) {
        self.size_max.store(size_max, Relaxed);
    }

    /// Returns the bytes that bodies hold now.
    pub fn held(&self) -> usize {
        self.small.taken() + self.large.taken()
    }

    /// Reads a body of at most `body_size_max`, within the time that the settings allow.
    ///
    /// # Errors
    /// See [`Bodies::read_at_most`].
    pub async fn read(&self, headers: &HeaderMap, payload: Payload) -> Result<Bytes, ApiError> {
        let size_max = self.size_max.load(Relaxed);
        self.read_at_most(size_max, headers, payload).await
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
        let size_max = size_max.min(self.size_max.load(Relaxed));
        let growing = self.begin(length(headers), size_max)?;
        // Given back when the body has arrived, because the connection then no longer needs its buffers.
        let _buffer = growing.buffer()?;
        let read = tokio::time::timeout(self.time_max, growing.read(payload)).await;
        read.map_err(|_| ApiError::slow_request())?
    }

    /// Checks, by the announced length, whether a body can be read.
    ///
    /// # Errors
    /// Returns 413 if the body is too large, and 503 if there is no memory for it now.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let size_max = self.size_max.load(Relaxed);
        self.begin(length(headers), size_max).map(drop)
    }

    /// Returns an empty share of the memory of large bodies, for what will become a part of one.
    pub fn room(&self) -> Share {
        self.large.share()
    }

    /// Charges bytes that were created here, such as a call with its history, to the budget.
    ///
    /// # Errors
    /// Returns 503 if there is no memory for them now.
    pub fn hold(&self, bytes: Bytes) -> Result<Bytes, ApiError> {
        let mut growing = self.begin(Some(bytes.len()), usize::MAX)?;
        growing.take(bytes.len())?;
        Ok(memory::hold(bytes, (growing.small, growing.large)))
    }

    fn begin(&self, length: Option<usize>, size_max: usize) -> Result<Growing, ApiError> {
        if length.is_some_and(|length| length > size_max) {
            return Err(ApiError::too_large(size_max));
        }
        let is_small = length.is_some_and(|length| length <= SMALL);
        let needed = length.unwrap_or(LEAST).max(LEAST);
        let has_room = if is_small {
            self.small.free() >= needed || self.large.free() >= needed
        } else {
            self.large.free() >= needed.saturating_add(BUFFER)
        };
        if !has_room {
            return Err(ApiError::no_memory());
        }
        Ok(Growing {
            bytes: Vec::new(),
            small: is_small.then(|| self.small.share()),
            large: self.large.share(),
            size_max: length.unwrap_or(size_max),
        })
    }
}

impl Growing {
    /// Takes the share of the connection's buffers while it receives a large body.
    fn buffer(&self) -> Result<Option<Share>, ApiError> {
        if self.small.is_some() {
            return Ok(None);
        }
        let mut buffer = self.large.another();
        buffer.grow_to(BUFFER).map_err(no_memory)?;
        Ok(Some(buffer))
    }

    async fn read(mut self, mut payload: Payload) -> Result<Bytes, ApiError> {
        while let Some(part) = payload.next().await {
            let part = part.map_err(|error| broken(&error))?;
            self.add(&part)?;
        }
        Ok(memory::hold(self.bytes.into(), (self.small, self.large)))
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

    /// Takes this number of further bytes of the budget, of those for small bodies first.
    fn take(&mut self, bytes: usize) -> Result<(), ApiError> {
        if let Some(small) = &mut self.small
            && small.grow_to(small.size() + bytes).is_ok()
        {
            return Ok(());
        }
        let size = self.large.size().saturating_add(bytes);
        self.large.grow_to(size).map_err(no_memory)
    }
}

fn no_memory(NoMemory: NoMemory) -> ApiError {
    ApiError::no_memory()
}

/// Returns the error for a body that cannot be received.
fn broken(error: &PayloadError) -> ApiError {
    if matches!(error, PayloadError::Io(error) if error.kind() == io::ErrorKind::OutOfMemory) {
        return ApiError::no_memory();
    }
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

#[cfg(test)]
mod tests;
