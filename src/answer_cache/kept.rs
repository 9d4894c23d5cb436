//! The form in which an answer is kept.

use bytes::Bytes;
use kebne_cache::Form;
use kebne_wire::usage::Usage;
use serde::{Deserialize, Serialize};

/// A kept answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeptAnswer {
    /// Its form.
    pub(crate) form: Form,
    /// The lane that gave it, to find its price.
    pub(crate) lane: String,
    /// The model that the backend was asked for.
    pub(crate) model: String,
    /// The tokens that the backend reported.
    pub(crate) usage: Usage,
    /// The body, in the parts in which it is replayed.
    pub(crate) parts: Vec<Bytes>,
}

/// What goes before the body.
#[derive(Deserialize, Serialize)]
struct Head {
    stream: bool,
    lane: String,
    model: String,
    /// In the order of [`counts`].
    usage: [Option<u64>; 8],
    parts: Vec<usize>,
}

/// The size of a part into which smaller ones are joined. A client reads what has arrived at once.
const PART: usize = 4 << 10;

impl KeptAnswer {
    /// Returns the answer as bytes; `None` if it cannot be written.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        let head = Head {
            stream: self.form == Form::Stream,
            lane: self.lane.clone(),
            model: self.model.clone(),
            usage: counts(&self.usage),
            parts: joined(&self.parts),
        };
        let head = serde_json::to_vec(&head).ok()?;
        let mut bytes = u32::try_from(head.len()).ok()?.to_le_bytes().to_vec();
        bytes.extend(head);
        self.parts
            .iter()
            .for_each(|part| bytes.extend_from_slice(part));
        Some(bytes)
    }

    /// Reads an answer; `None` if it is not one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (head, body) = rest.split_at_checked(length)?;
        let head: Head = serde_json::from_slice(head).ok()?;
        let mut body = Bytes::copy_from_slice(body);
        let mut parts = Vec::with_capacity(head.parts.len());
        for size in head.parts {
            if size > body.len() {
                return None;
            }
            parts.push(body.split_to(size));
        }
        body.is_empty().then_some(Self {
            form: if head.stream {
                Form::Stream
            } else {
                Form::Whole
            },
            lane: head.lane,
            model: head.model,
            usage: usage(head.usage),
            parts,
        })
    }

    /// Returns the body.
    pub(crate) fn body(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

/// Returns the sizes of parts, small ones joined.
fn joined(parts: &[Bytes]) -> Vec<usize> {
    let mut sizes: Vec<usize> = Vec::new();
    for part in parts {
        match sizes.last_mut() {
            Some(last) if *last + part.len() <= PART => *last += part.len(),
            _ => sizes.push(part.len()),
        }
    }
    sizes
}

fn counts(usage: &Usage) -> [Option<u64>; 8] {
    [
        usage.input,
        usage.cached,
        usage.cache_written,
        usage.image_input,
        usage.audio_input,
        usage.output,
        usage.image_output,
        usage.audio_output,
    ]
}

fn usage(counts: [Option<u64>; 8]) -> Usage {
    let [
        input,
        cached,
        cache_written,
        image_input,
        audio_input,
        output,
        image_output,
        audio_output,
    ] = counts;
    Usage {
        input,
        cached,
        cache_written,
        image_input,
        audio_input,
        output,
        image_output,
        audio_output,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_as_it_was_written_and_nothing_else_is_read() {
        let answer = KeptAnswer {
            form: Form::Stream,
            lane: "a".to_owned(),
            model: "m".to_owned(),
            usage: Usage {
                input: Some(3),
                output: Some(5),
                ..Usage::default()
            },
            parts: vec!["a\n\n".into(), "b\n\n".into(), "c".repeat(PART).into()],
        };
        let bytes = answer.to_bytes().unwrap();
        let read = KeptAnswer::read(&bytes).unwrap();
        assert_eq!(read.parts.len(), 2);
        assert_eq!(read.body(), answer.body());
        assert_eq!((read.usage, &*read.lane), (answer.usage, "a"));
        for end in 0..bytes.len() {
            assert_eq!(KeptAnswer::read(&bytes[..end]), None, "{end}");
        }
        assert_eq!(KeptAnswer::read(&[&*bytes, b"x"].concat()), None);
    }
}
