//! Events as `CloudEvents` 1.0: what a gateway reports, each with a type, a version and a JSON schema.
//!
//! Owns the envelope ([`CloudEvent`]), the data of each event, and its schema, which is made of the same fields as the struct. It exists so that
//! emitters, buses and readers agree on bytes. It has no I/O and no clock, and knows neither buses nor HTTP.

mod cloud_event;
mod data;
mod event;
mod filter;
mod schema;
mod time;
mod token;
mod types;

pub use cloud_event::{CloudEvent, ReadError, SpecVersion, WriteError};
pub use data::{
    AgentRunEnded, AgentStep, AlertClosed, AlertOpened, CallCost, CallEnded, Data, GuardVerdict,
    RouteDecided, SessionChange, SessionChanged,
};
pub use event::Event;
pub use filter::matches;
pub use schema::{EventData, Field};
pub use time::rfc3339;
pub use token::token;
pub use types::{EventType, TYPES, reference};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
