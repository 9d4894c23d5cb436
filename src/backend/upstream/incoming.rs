//! The body of an answer: decoded if it is compressed, and identified by its first bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::{
    encoding::{Decoder, EncodingError, is_known},
    sniff::{Kind, begins_with_unknown_field, kind_of},
};

use crate::{
    backend::{
        failure,
        reason::{NO_MEMORY, TOO_LARGE, UNREADABLE},
        upstream::{response::Response, secrets::Secrets, transport::broke_off},
    },
    memory::{NoMemory, SMALL, Share},
};

/// The compressed bytes that are decoded in one step; they expand to at most 4 MiB.
const STEP: usize = 4096;

/// A body that is being read.
pub(crate) struct Incoming {
    response: Response,
    /// The share of the budget of answers that a whole answer takes, or an event of a stream that is not complete.
    share: Share,
    /// The largest event, for which room is reserved while it arrives.
    event_size_max: usize,
    /// What errors within a stream are shown without.
    secrets: Arc<Secrets>,
    /// `true` once the first bytes have shown whether the body is encoded.
    is_decided: bool,
    decoder: Option<Decoder>,
    /// `true` if the body is decoded by its label only, because it may be a file of any kind.
    is_file: bool,
    /// The bound of the decoded body.
    max: usize,
    /// Compressed bytes that are not decoded yet.
    compressed: Bytes,
    /// The bytes that were read to determine the kind and have not been returned yet.
    head: Option<Bytes>,
    ended: bool,
}

impl Incoming {
    /// Creates the reader of a body. `max` bounds its decoded size in bytes, and `share` is charged
    /// with what is held of it.
    pub(crate) fn of(response: Response, max: usize, share: Share) -> Self {
        Self {
            response,
            share,
            event_size_max: max,
            secrets: Arc::default(),
            is_decided: false,
            decoder: None,
            is_file: false,
            max,
            compressed: Bytes::new(),
            head: None,
            ended: false,
        }
    }

    /// Decodes the body by its label only, because it may be a compressed file.
    pub(crate) fn into_file(mut self) -> Self {
        self.is_file = true;
        self
    }

    /// Sets the largest event, by default as large as the body, and the secrets that errors are shown without.
    pub(super) fn with_events_of(self, event_size_max: usize, secrets: Arc<Secrets>) -> Self {
        Self {
            event_size_max,
            secrets,
            ..self
        }
    }

    /// Returns the failure without the secrets of the backend.
    pub(crate) fn hide_secrets_in(&self, mut failure: Failure) -> Failure {
        self.secrets.hide_in(&mut failure);
        failure
    }

    /// Returns the next bytes, at least one; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(head) = self.head.take() {
            return Ok(Some(head));
        }
        self.next().await
    }

    /// Determines the kind of the body; `None` if it is empty.
    pub(crate) async fn kind(&mut self) -> Result<Option<Kind>, Failure> {
        let Some(first) = self.next().await? else {
            return Ok(None);
        };
        let mut kind = self.kind_of(&first);
        let mut start = BytesMut::new();
        while kind.is_none() {
            if start.is_empty() {
                start.extend_from_slice(&first);
            }
            let Some(more) = self.next().await? else {
                break;
            };
            start.extend_from_slice(&more);
            kind = self.kind_of(&start);
        }
        let head = if start.is_empty() {
            first
        } else {
            start.freeze()
        };
        let is_blank = head.trim_ascii().is_empty();
        self.head = Some(head);
        Ok(kind.or((!is_blank).then_some(Kind::Other)))
    }

    /// Returns the kind of a body that begins with `start`; `None` if it cannot be determined yet. The label counts only
    /// where it explains bytes that would otherwise have no meaning.
    fn kind_of(&self, start: &[u8]) -> Option<Kind> {
        match kind_of(start) {
            Some(Kind::Other) if self.is_labelled_stream() => {
                let begins = begins_with_unknown_field(start)?;
                Some(if begins { Kind::Events } else { Kind::Other })
            }
            kind => kind,
        }
    }

    /// Returns `true` if the label of the body is that of an event stream.
    fn is_labelled_stream(&self) -> bool {
        let label = self.response.headers().get(http::header::CONTENT_TYPE);
        let label = label.map(|label| label.as_bytes().to_ascii_lowercase());
        label.is_some_and(|label| label.starts_with(b"text/event-stream"))
    }

    /// Reads the rest of the body, of at most `max` bytes. A body that arrives in one piece is not copied.
    pub(crate) async fn read(mut self, max: usize) -> Result<Bytes, Failure> {
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        // The response counts the remaining bytes.
        let announced = self
            .response
            .content_length()
            .filter(|_| self.decoder.is_none())
            .and_then(|length| usize::try_from(length).ok())
            .map_or(0, |rest| rest.saturating_add(first.len()));
        if announced > max {
            return Err(too_large(max));
        }
        let Some(second) = self.chunk().await? else {
            return if first.len() > max {
                Err(too_large(max))
            } else {
                Ok(first)
            };
        };
        let start = announced.max(first.len() + second.len());
        self.charge(start)?;
        let mut whole = BytesMut::with_capacity(start);
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while whole.len() <= max {
            let Some(chunk) = self.chunk().await? else {
                let whole = whole.freeze();
                return Ok(match self.share.size() {
                    0 => whole,
                    _ => self.share.hold(whole),
                });
            };
            let size = whole.len() + chunk.len();
            if size > whole.capacity() {
                let wanted = size.max(2 * whole.capacity());
                self.charge(wanted)?;
                whole.reserve(wanted - whole.len());
            }
            whole.extend_from_slice(&chunk);
        }
        Err(too_large(max))
    }

    /// Reads as much of the body as arrives, up to `max` bytes.
    pub(crate) async fn read_some(mut self, max: usize) -> Bytes {
        let mut some = BytesMut::new();
        while let Ok(Some(chunk)) = self.chunk().await {
            some.extend_from_slice(&chunk[..chunk.len().min(max - some.len())]);
            if some.len() == max {
                break;
            }
        }
        some.freeze()
    }

    /// Reserves room for the rest of an event once more than a few bytes of it, `pending`, have arrived.
    ///
    /// A stream that `waits` for room takes at once what the largest event needs, and holds nothing before. What it
    /// holds then is given back by its reader alone, so streams cannot wait for each other in a circle.
    pub(crate) async fn reserve_event(
        &mut self,
        pending: usize,
        waits: bool,
    ) -> Result<(), Failure> {
        if pending <= SMALL {
            return Ok(());
        }
        if !waits {
            return self.charge(pending);
        }
        if self.share.size() == 0 {
            self.share.wait_for(self.event_size_max).await;
        }
        Ok(())
    }

    /// Charges complete events to the budget, of which `pending` bytes were held before the last ones arrived. They give
    /// their share back when they are dropped.
    pub(crate) async fn hold_events(
        &mut self,
        events: Bytes,
        pending: usize,
        waits: bool,
    ) -> Result<Bytes, Failure> {
        let size = events.len().max(pending);
        if size <= SMALL {
            return Ok(events);
        }
        if !waits {
            self.charge(size)?;
        } else if self.share.size() == 0 {
            self.share.wait_for(size).await;
        }
        self.share.shrink_to(size);
        Ok(self.share.take().hold(events))
    }

    /// Charges an answer of `size` bytes to the budget.
    fn charge(&mut self, size: usize) -> Result<(), Failure> {
        if size <= SMALL {
            return Ok(());
        }
        self.share.grow_to(size).map_err(|NoMemory| {
            let message = "answers take all of `server.answers_size_max`";
            Failure::new(Outcome::Unusable, message)
                .because(NO_MEMORY)
                .shed()
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(decoded) = self.decode()? {
                return Ok(Some(decoded));
            }
            if self.ended {
                let Some(mut decoder) = self.decoder.take() else {
                    return Ok(None);
                };
                let rest = decoder.finish().map_err(|error| not_decoded(&error))?;
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            }
            let chunk = self.response.chunk().await;
            let chunk = chunk.map_err(|error| broke_off(&error))?;
            self.ended = chunk.is_none();
            if !self.is_decided {
                self.decide(chunk.unwrap_or_default())?;
                let is_plain = self.is_decided && self.decoder.is_none();
                if is_plain && !self.compressed.is_empty() {
                    return Ok(Some(std::mem::take(&mut self.compressed)));
                }
                continue;
            }
            match chunk {
                Some(chunk) if self.decoder.is_some() => self.compressed = chunk,
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => return Ok(Some(chunk)),
                None => {}
            }
        }
    }

    /// Determines the encoding of the body from its first bytes.
    fn decide(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.compressed = if self.compressed.is_empty() {
            chunk
        } else {
            Bytes::from([&self.compressed[..], &chunk].concat())
        };
        if !is_known(&self.compressed) && !self.ended {
            return Ok(());
        }
        self.is_decided = true;
        let label = self.response.headers().get(http::header::CONTENT_ENCODING);
        let label = label.map(|label| String::from_utf8_lossy(label.as_bytes()));
        let label = label.as_deref().unwrap_or_default();
        let decoder = if self.is_file {
            Decoder::new(label, self.max)
        } else {
            Decoder::of_answer(label, &self.compressed, self.max)
        };
        self.decoder = decoder.map_err(|error| not_decoded(&error))?;
        Ok(())
    }

    /// Decodes the available bytes step by step, until there is output.
    fn decode(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(None);
        };
        while !self.compressed.is_empty() {
            let step = self.compressed.split_to(self.compressed.len().min(STEP));
            let decoded = decoder.push(&step).map_err(|error| not_decoded(&error))?;
            if !decoded.is_empty() {
                return Ok(Some(decoded));
            }
        }
        Ok(None)
    }
}

fn too_large(max: usize) -> Failure {
    let message = format!("the backend's answer is larger than {max} bytes (`answer_size_max`)");
    Failure::new(Outcome::Unusable, message).because(TOO_LARGE)
}

fn not_decoded(error: &EncodingError) -> Failure {
    match error {
        EncodingError::Incomplete(_) => {
            failure::cut(format!("the backend's answer is incomplete: {error}"))
        }
        EncodingError::TooLarge(max) => too_large(*max),
        EncodingError::Unknown(_) | EncodingError::Damaged(_) => {
            let message = format!("the backend's answer cannot be decoded: {error}");
            Failure::new(Outcome::Unusable, message).because(UNREADABLE)
        }
    }
}
