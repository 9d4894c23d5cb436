//! A conformance suite for actor libraries: Pekko's documented behaviour as black-box cases.
//!
//! A case knows a library only through its driver. What a library does not claim to offer is *not applicable*
//! to it, never failed. Cases are deterministic: time is paused and moved by the case, chance is seeded.
//!
//! | module | owns |
//! |---|---|
//! | [`case`] | what a case is, how it ends, and how to add one |
//! | [`driver`] | what a library is to the suite, and the driver of each area |
//! | [`mod@cases`] | the cases, one file for each topic |
//! | [`contexts`] | an actor of stock actix code, for any context |
//! | `http_app` | the handlers that every HTTP server under test serves |
//! | [`registry`] | the list of all cases and of all libraries |
//! | [`runner`] | running a case: a fresh thread, paused time, a watchdog, a process where it must be |
//! | [`matrix`] | the table that is printed and written into the docs |
//! | [`kebne`], [`bare_actix`], [`ractor_library`], [`kameo_library`] | the adapters |

pub mod bare_actix;
pub mod case;
pub mod cases;
pub mod contexts;
pub mod driver;
mod http_app;
pub mod kameo_library;
pub mod kebne;
pub mod matrix;
pub mod puppet;
pub mod ractor_library;
pub mod registry;
pub mod runner;
