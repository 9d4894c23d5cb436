//! The Kebne gateway: an OpenAI-compatible service in front of fragile, cold-starting model servers.

pub mod alerts;
pub mod api_key;
pub mod backend;
pub mod bodies;
pub mod cli;
pub mod conversations;
pub mod gateway;
pub mod http;
pub mod learned;
pub mod live;
pub mod llm;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod objects;
pub mod off_loop;
pub mod page;
pub mod record;
pub mod request_log;
pub mod service;
pub mod settings;
pub mod stages;
pub mod state;
pub mod supervisor;
pub mod surface;
pub mod trace_context;
