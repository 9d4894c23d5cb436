//! Tools to evaluate Kebne. A production build does not contain them.
//!
//! [`sim`] plays the control law against simulated backends in virtual time. [`simulate`] serves a model server without a
//! model over HTTP. [`load`] sends calls to a service when they are due, regardless of the service. [`demo`] runs one job
//! twice, with a fixed strategy and through a lane. [`rag`] measures retrieval on questions with known answers, and
//! [`cache_eval`] how often the cache of answers is right, [`routes`] the intents of routes. [`collections_bench`] measures
//! what collections of many chunks cost.

pub mod cache_eval;
pub mod collections_bench;
pub mod demo;
pub mod embedding;
pub mod load;
pub mod rag;
pub mod routes;
pub mod sim;
pub mod simulate;
