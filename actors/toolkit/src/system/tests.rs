//! The actor system, topic by topic.

mod counter;
mod plain;

mod actix_side;
mod answers;
mod asks;
mod ends;
mod events;
mod hangs;
mod mailbox;
mod metrics;
mod overflow;
mod places;
mod stash;
mod supervision;
mod timers;
mod tree;
mod watch;
