//! The `OpenAI` Responses API for callers, over chat backends.
//!
//! [`to_chat`] translates a request; [`Template`] holds what the answer repeats of it; [`response_of_chat`] and
//! [`EventWriter`] translate the answer back. Which response continues which one is data here
//! ([`ResponsesCall::previous_response_id`]): who keeps responses decides what that means.

mod event_writer;
mod events;
mod framer;
mod input;
mod items;
mod kept;
mod output;
mod parts;
mod template;
mod to_chat;
mod tools;

pub use event_writer::{EventWriter, response_of_chat};
pub use framer::ResponseFramer;
pub use kept::{Kept, KeptView, line_of, response_id, tree_of};
pub use template::Template;
pub use to_chat::{ResponsesCall, to_chat};
