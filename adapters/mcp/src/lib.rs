//! Servers of the Model Context Protocol behind one endpoint.
//!
//! Owns the connections to servers, the lists of their tools, what was approved of these, and the endpoint at which tools are offered. It
//! does not queue, repeat or count calls, and does not know who calls: the program does.

#![doc = include_str!("../README.md")]

mod authorized;
mod endpoint;
mod fault;
mod keeper;
mod options;
mod pattern;
mod pins;
mod process;
mod server;
mod shared;
mod tool;
mod transport;

pub use endpoint::{AnswerBody, CallEnding, Endpoint, EndpointOptions, Offer, Pending, Resource};
pub use fault::Fault;
pub use options::{Era, HttpWay, Launcher, OAuth, Options, ProcessWay, Way};
pub use pattern::{Pattern, WrongPattern};
pub use pins::{Hold, Pins, PinsError};
pub use server::{McpServer, ServerReport, ToolReport};
pub use tool::{Tool, ToolCall};
