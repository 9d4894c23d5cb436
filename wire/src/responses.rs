//! The `OpenAI` Responses API for callers, over chat backends and over backends that have this API.
//!
//! For chat backends [`to_chat`] translates a request; [`Template`] holds what the answer repeats of it;
//! [`response_of_chat`] and [`EventWriter`] translate the answer back. For backends with this API, [`native_request`]
//! prepares the caller's own body, [`check_response`] and [`ResponseFramer`] read the answer, and [`Relabel`] puts it
//! under its id here. Which response continues which one is data ([`Terms`]): who keeps responses decides what that
//! means.

mod event_writer;
mod events;
mod framer;
mod history;
mod input;
mod items;
mod kept;
mod native;
mod output;
mod parts;
mod relabel;
mod searched;
mod template;
mod terms;
mod to_chat;
mod tools;
mod unstored;
mod whole;

pub use event_writer::{EventWriter, response_of_chat};
pub use framer::ResponseFramer;
pub use kept::{Kept, KeptView, line_of, response_id, tree_of};
pub use native::native_request;
pub use relabel::{Relabel, are_response_events, is_response};
pub use template::Template;
pub use terms::Terms;
pub use to_chat::{ResponsesCall, to_chat};
pub use unstored::not_stored;
pub use whole::{check_response, events_of_response, final_response};
