//! The Kebne gateway: an OpenAI-compatible service in front of fragile, cold-starting model servers.

mod agent_specs;
pub mod agents;
pub mod alerts;
pub mod answer_cache;
pub mod api_key;
pub mod audit_log;
pub mod backend;
pub mod bodies;
#[cfg(feature = "broker")]
pub mod brokers;
pub mod cache_note;
pub mod caller;
pub mod cli;
pub mod client_address;
#[cfg(feature = "broker")]
pub mod consume;
pub mod conversations;
pub mod cost;
pub mod current;
pub mod decisions;
pub mod discovery;
pub mod events;
pub mod fence;
pub mod function_events;
pub mod gateway;
pub mod guards;
pub mod http;
pub(crate) mod jobs;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod learned;
pub mod live;
pub mod llm;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod model_tools;
#[cfg(feature = "nats")]
pub mod nats;
pub mod objects;
pub mod off_loop;
pub mod page;
mod pdf;
pub mod privacy;
pub mod prompt_calls;
pub mod recall;
pub mod record;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub mod reload;
pub mod request_log;
pub mod retrieval;
pub mod routes;
pub mod service;
pub mod settings;
pub mod shares;
pub mod sharing;
mod sources;
pub mod stages;
pub mod state;
pub mod supervisor;
pub mod surface;
pub mod tally;
#[cfg(feature = "otel")]
pub mod telemetry;
pub mod tls;
pub mod token_budget;
pub mod tool_loops;
pub mod trace_context;
pub mod transcript;
mod unix_time;
mod via;
mod webhook_signature;
