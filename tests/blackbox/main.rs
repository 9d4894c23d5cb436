//! The real program from outside: called over sockets, killed, started again.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod actions;
mod alerts;
mod all_at_once;
mod backends;
mod bodies;
mod browsers;
mod budgets;
mod certificates;
mod closing;
mod corpus;
mod cost;
mod discovery;
mod edges;
mod endings;
mod fallbacks;
mod files;
mod health;
mod health_command;
mod incidents;
mod inputs;
mod keys;
mod logs;
mod methods;
mod metrics;
mod page;
mod pass_through;
mod passed_headers;
mod prewarm;
mod program;
mod refusals;
mod reload;
mod replicas;
mod restarts;
mod scenarios;
mod session_store;
mod sessions;
mod shares;
mod stopping;
mod surfaces;
mod tls;
mod top;
mod upstream;
mod upstreams;
mod wire;
