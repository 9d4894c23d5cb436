//! Reads bodies within bounds, without copying one that comes in one piece.

use bytes::{Bytes, BytesMut};
use kebne_control::Outcome;
use kebne_lane::Failure;
use reqwest::Response;

use crate::backend::upstream::transport::broke_off;

/// Reads a body of at most `max` bytes; a body that comes in one piece is not copied.
pub(super) async fn read(mut response: Response, max: usize) -> Result<Bytes, Failure> {
    let too_large = || {
        Failure::new(
            Outcome::Fault,
            format!("the backend's answer is larger than {max} bytes"),
        )
    };
    let announced = response
        .content_length()
        .and_then(|length| usize::try_from(length).ok())
        .unwrap_or(0);
    if announced > max {
        return Err(too_large());
    }
    let Some(first) = response.chunk().await.map_err(|error| broke_off(&error))? else {
        return Ok(Bytes::new());
    };
    let Some(second) = response.chunk().await.map_err(|error| broke_off(&error))? else {
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(announced.max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&second);
    while let Some(chunk) = response.chunk().await.map_err(|error| broke_off(&error))? {
        if whole.len() + chunk.len() > max {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
    }
    if whole.len() > max {
        Err(too_large())
    } else {
        Ok(whole.freeze())
    }
}

/// Reads as much of a body as comes, up to `max` bytes; a body that breaks off is as long as it is.
pub(super) async fn read_some(mut response: Response, max: usize) -> Bytes {
    let mut some = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        some.extend_from_slice(&chunk[..chunk.len().min(max - some.len())]);
        if some.len() == max {
            break;
        }
    }
    some.freeze()
}
