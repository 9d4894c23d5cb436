//! The threads on which actors run and asks wait, and the panics elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::Handle;

/// Runs `start`, which spawns an actor's task on this thread.
///
/// # Panics
/// When this thread cannot run actors.
#[track_caller]
pub(super) fn start_here(path: &str, start: impl FnOnce()) {
    if Handle::try_current().is_err() {
        refuse(&format!(
            "`{path}` was spawned on a thread without a runtime: spawn actors in a function with `#[actix::main]` or in \
             `actix::System::new().block_on(…)`, or give them a thread by `ActorSystem::with_thread`"
        ));
    }
    // Whether a thread runs local tasks can only be found out by tokio's panic.
    if catch_unwind(AssertUnwindSafe(start)).is_err() {
        refuse(&format!(
            "`{path}` was spawned where no task can stay on its thread, such as under `#[tokio::main]`: use \
             `#[actix::main]`, or a `tokio::task::LocalSet`, or give actors a thread by \
             `ActorSystem::with_thread` or `Props::on_arbiter(system.start_thread()?)`"
        ));
    }
}

/// Panics unless a runtime runs on this thread.
///
/// # Panics
/// When none does.
pub(crate) fn require_runtime(what: &str) {
    if Handle::try_current().is_err() {
        refuse(&format!(
            "`{what}` needs the timer of a tokio runtime, which this thread has not; `ActorRef::ask_blocking` asks \
             from a plain thread"
        ));
    }
}

#[expect(
    clippy::panic,
    reason = "a call in the wrong place is a mistake of the program's, as in tokio"
)]
#[track_caller]
fn refuse(why: &str) -> ! {
    panic!("{why}")
}
