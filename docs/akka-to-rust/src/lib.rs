//! From Akka to Rust: the chapters as documentation whose examples are compiled and run.
//!
//! Each module is one page, and each Rust example of a page is a test of this crate. The crate is not published, and no
//! other crate depends on it.

#[doc = include_str!("../00-map.md")]
#[doc = include_str!(concat!(env!("OUT_DIR"), "/links.md"))]
pub mod map {
    mod named {
        #![expect(
            unused_imports,
            reason = "an import fails when the map names what is not there"
        )]
        include!(concat!(env!("OUT_DIR"), "/imports.rs"));
    }
}
#[doc = include_str!("../01-first-actor.md")]
pub mod ch01 {}
#[doc = include_str!("../02-chat-room.md")]
pub mod ch02 {}
#[doc = include_str!("../03-interaction-patterns.md")]
pub mod ch03 {}
#[doc = include_str!("../04-failure.md")]
pub mod ch04 {}
#[doc = include_str!("../05-supervision.md")]
pub mod ch05 {}
#[doc = include_str!("../06-backoff.md")]
pub mod ch06 {}
#[doc = include_str!("../07-watch.md")]
pub mod ch07 {}
#[doc = include_str!("../08-stash-timers.md")]
pub mod ch08 {}
#[doc = include_str!("../09-streams.md")]
pub mod streams {}
#[doc = include_str!("../../from-actix.md")]
pub mod from_actix {}
