//! A conformance suite for actor libraries: Pekko's documented behaviour as black-box cases.
//!
//! A case knows a library only through its driver. What a library does not claim to offer is *not applicable*
//! to it, never failed. Cases are deterministic: time is paused and moved by the case, chance is seeded.

pub mod case;
