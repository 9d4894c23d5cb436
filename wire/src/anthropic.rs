//! The Anthropic Messages API, for callers and for backends.
//!
//! For callers, [`to_chat`] translates a Messages request into a chat request, and [`message_of_chat`] and
//! [`EventWriter`] translate the answer back. For backends, [`from_chat`] translates a chat request into a Messages
//! request, and [`chat_of_message`] and [`ChunkWriter`] translate the answer back. [`MessageFramer`] reads a stream
//! that is passed on unchanged or as chat chunks; [`events_of_message`] and [`MessageFold`] convert between a message
//! and its stream. [`ErrorKind`] lists the errors of both directions.

mod blocks;
mod chunk_writer;
mod error_kind;
mod event_writer;
mod foreign;
mod framer;
mod from_chat;
mod limit;
mod message;
mod progress;
mod source;
mod stop_reason;
mod thinking;
mod to_chat;
mod tool_ids;
mod tools;
mod usage;
mod whole;

pub use chunk_writer::{ChunkWriter, chat_of_message};
pub use error_kind::{ErrorKind, error_body, error_event};
pub use event_writer::EventWriter;
pub use foreign::without_foreign;
pub use framer::MessageFramer;
pub use from_chat::{FromChat, from_chat};
pub use message::{MessageContext, message_of_chat};
use progress::Progress;
pub use to_chat::to_chat;
pub use whole::{MessageFold, events_of_message};
