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
#[doc = include_str!("../10-fsm.md")]
pub mod ch10 {}
#[doc = include_str!("../11-routers.md")]
pub mod ch11 {}
#[doc = include_str!("../12-work-pulling.md")]
pub mod ch12 {}
#[doc = include_str!("../13-breaker-retry.md")]
pub mod ch13 {}
#[doc = include_str!("../14-rate.md")]
pub mod ch14 {}
#[doc = include_str!("../15-testing.md")]
pub mod ch15 {}
#[doc = include_str!("../16-shutdown.md")]
pub mod ch16 {}
#[doc = include_str!("../17-event-sourcing.md")]
pub mod ch17 {}
#[doc = include_str!("../18-mailboxes.md")]
pub mod ch18 {}
#[doc = include_str!("../19-blocking.md")]
pub mod ch19 {}
#[doc = include_str!("../20-beyond-akka.md")]
pub mod ch20 {}
#[doc = include_str!("../21-moving.md")]
pub mod ch21 {}
#[doc = include_str!("../22-iot.md")]
pub mod ch22 {}
#[doc = include_str!("../23-operators.md")]
pub mod ch23 {}
#[doc = include_str!("../24-sse.md")]
pub mod ch24 {}
#[doc = include_str!("../25-http-service.md")]
pub mod ch25 {}
#[doc = include_str!("../26-reliable-delivery.md")]
pub mod ch26 {}
#[doc = include_str!("../../from-actix.md")]
pub mod from_actix {}
