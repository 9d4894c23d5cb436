//! The Kebne gateway: an OpenAI-compatible service in front of fragile, cold-starting model servers.

pub mod backend;
pub mod cli;
pub mod context;
pub mod demo;
pub mod gateway;
pub mod http;
pub mod learned;
pub mod llm;
pub mod load;
pub mod metrics;
pub mod service;
pub mod settings;
pub mod simulate;
