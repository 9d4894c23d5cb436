//! The threads on which actors run and asks wait, and the panics elsewhere.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tokio::runtime::Handle;

/// Spawns a task on this thread. `name` is what `tokio-console` shows.
///
/// # Panics
/// When this thread cannot run local tasks.
#[cfg(tokio_unstable)]
#[track_caller]
#[expect(
    clippy::expect_used,
    reason = "tokio's builder returns an error only where there is no room for a thread, and this starts none"
)]
pub(super) fn spawn(name: impl FnOnce() -> String, task: impl Future<Output = ()> + 'static) {
    let name = name();
    let builder = tokio::task::Builder::new().name(&name);
    drop(builder.spawn_local(task).expect("a local task"));
}

/// Spawns a task on this thread. tokio has names for tasks only with `--cfg tokio_unstable`.
///
/// # Panics
/// When this thread cannot run local tasks.
#[cfg(not(tokio_unstable))]
#[track_caller]
pub(super) fn spawn(_: impl FnOnce() -> String, task: impl Future<Output = ()> + 'static) {
    drop(actix_rt::spawn(task));
}

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

#[cfg(test)]
mod tests {
    use std::{
        fmt::Debug,
        sync::{Arc, Mutex},
    };

    use actix::{Actor, Handler, Message};
    use tracing::{
        Event, Metadata, Subscriber,
        field::{Field, Visit},
        span::{Attributes, Id, Record},
    };

    use crate::{ActorSystem, Context, Props};

    /// Notes what tokio says of tasks, as `console-subscriber` does.
    #[derive(Clone, Default)]
    struct Names(Arc<Mutex<Vec<String>>>);

    impl Visit for &Names {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "task.name" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }

    impl Subscriber for Names {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.name() == "runtime.spawn"
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            span.record(&mut &*self);
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Piped;

    struct Piper;

    impl Actor for Piper {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.pipe_to_self(std::future::ready(()), |()| Piped);
        }
    }

    impl Handler<Piped> for Piper {
        type Result = ();
        fn handle(&mut self, _: Piped, ctx: &mut Self::Context) {
            ctx.stop();
        }
    }

    #[actix::test]
    async fn a_task_has_the_path_of_its_actor_where_tokio_has_names() {
        let names = Names::default();
        let _until_the_end = tracing::subscriber::set_default(names.clone());
        let system = ActorSystem::new("named", 1);
        let piper = system.spawn(Props::new(|| Piper), "piper");
        piper.when_stopped().await;
        let mut seen = names.0.lock().unwrap().clone();
        seen.retain(|name| name.starts_with("/user"));
        let expected: &[&str] = if cfg!(tokio_unstable) {
            &["/user/piper", "/user/piper pipe"]
        } else {
            &[]
        };
        assert_eq!(seen, expected);
    }
}
