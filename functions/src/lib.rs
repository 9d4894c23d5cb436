#![doc = include_str!("../README.md")]

mod answer;
mod chat;
mod envelope;
mod schema;
mod settings;
mod subscription;

pub use answer::{Answer, ChatAnswer, UnusableAnswer, VARIABLES_MAX, Variables, is_own_refusal};
pub use chat::{ChatCall, chat_data};
pub use envelope::{CHAT_CALL, DIRECT_CALL, Envelope, Event};
pub use schema::{InputError, InputSchema, SchemaError};
pub use settings::{Format, FunctionSettings};
pub use subscription::OnSettings;
