//! Where actors may be spawned and asked, and what is said elsewhere.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::counter::*;
use crate::system::*;

/// Returns what `act` panics with.
fn panic_of<T>(act: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(act)) else {
        return "no panic".to_owned();
    };
    panic_text(&*panic)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().unwrap()
}

#[test]
fn spawning_without_a_runtime_says_what_to_write_instead() {
    let system = ActorSystem::new("test", 1);
    let said = panic_of(|| system.spawn(counter(&Log::default()), "counter"));
    assert!(said.contains("`/user/counter` was spawned on a thread without a runtime"));
    assert!(said.contains("`#[actix::main]`"), "{said}");
    assert!(system.tree().is_empty());
}

#[test]
fn the_panic_of_a_spawn_in_the_wrong_place_names_the_line_that_spawned() {
    let system = ActorSystem::new("test", 1);
    let at = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&at);
    let thread = thread::current().id();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if thread::current().id() == thread {
            let file = info.location().map(|location| location.file().to_owned());
            *noted.lock().unwrap() = file;
        } else {
            hook(info);
        }
    }));
    panic_of(|| system.spawn(counter(&Log::default()), "counter"));
    let _the_default_one = std::panic::take_hook();
    let file = at.lock().unwrap().take().unwrap();
    assert!(file.ends_with("places.rs"), "{file}");
}

#[test]
fn spawning_under_tokio_main_says_what_to_write_instead() {
    let system = ActorSystem::new("test", 1);
    let spawning = async { system.spawn(counter(&Log::default()), "counter") };
    let said = panic_of(|| runtime().block_on(spawning));
    assert!(said.contains("such as under `#[tokio::main]`"), "{said}");
    assert!(said.contains("start_thread"), "{said}");
    assert!(system.tree().is_empty());
}

#[test]
fn a_local_set_is_place_enough() {
    let answer = tokio::task::LocalSet::new().block_on(&runtime(), async {
        let system = ActorSystem::new("test", 1);
        let actor = system.spawn(counter(&Log::default()), "counter");
        actor.ask(Add(1), SECOND).await
    });
    assert_eq!(answer, Ok(1));
}

#[test]
fn a_thread_for_actors_serves_a_program_of_tokio_until_the_system_has_terminated() {
    let log = Log::default();
    let system = ActorSystem::new("test", 1);
    let thread = system.start_thread().unwrap();
    let answer = runtime().block_on(async {
        let props = counter(&log).on_arbiter(thread.clone());
        let actor = system.spawn(props, "counter");
        let answer = actor.ask(Add(1), SECOND).await;
        system.terminate().await;
        answer
    });
    assert_eq!(answer, Ok(1));
    assert_eq!(log.entries(), ["started", "stopped"]);
    // Its handle refuses work once the thread has ended.
    while thread.spawn_fn(|| {}) {
        thread::yield_now();
    }
}

#[test]
fn asking_on_a_plain_thread_says_what_to_write_instead() {
    let system = ActorSystem::new("test", 1);
    let thread = system.start_thread().unwrap();
    let actor = system.spawn(counter(&Log::default()).on_arbiter(thread), "counter");
    let said = panic_of(|| futures_executor(actor.ask(Add(1), SECOND)));
    assert!(said.contains("ask_blocking"), "{said}");
    assert_eq!(actor.ask_blocking(Add(1), 60 * SECOND), Ok(1));
    let late = actor.ask_blocking(Forever, Duration::from_millis(20));
    assert_eq!(late, Err(AskError::TimedOut));
    // The one that timed out was in work: it was not skipped, and nobody waits for it.
    actor.stop();
    let stopped = actor.ask_blocking(Add(1), 60 * SECOND);
    assert_eq!(stopped, Err(AskError::Stopped));
    runtime().block_on(system.terminate());
}

/// Polls a future once, as an executor that is not tokio's does.
fn futures_executor<T>(future: impl Future<Output = T>) -> Option<T> {
    futures_util::FutureExt::now_or_never(future)
}

/// Is answered by nobody, but late.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Forever;
impl actix::Handler<Forever> for Counter {
    type Result = actix::ResponseFuture<()>;
    fn handle(&mut self, _: Forever, _: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

#[test]
fn asking_blocks_where_a_runtime_allows_it_and_nowhere_else() {
    let system = ActorSystem::new("test", 1);
    let thread = system.start_thread().unwrap();
    let actor = system.spawn(counter(&Log::default()).on_arbiter(thread), "counter");
    let runtime = runtime();
    let blocking = actor.clone();
    let answer = runtime.block_on(async {
        tokio::task::spawn_blocking(move || blocking.ask_blocking(Add(1), SECOND)).await
    });
    assert_eq!(answer.unwrap(), Ok(1));
    let said = panic_of(|| runtime.block_on(async { actor.ask_blocking(Add(1), SECOND) }));
    assert_ne!(said, "no panic");
    runtime.block_on(system.terminate());
}

#[actix::test]
async fn an_actor_made_once_is_started_and_is_not_made_again() {
    tokio::time::pause();
    for strategy in [
        Strategy::restart(),
        Strategy::restart().with_backoff(SECOND, SECOND),
        Strategy::restart().with_limit(5, SECOND),
    ] {
        let system = ActorSystem::new("test", 1);
        let log = Log::default();
        let only = Counter {
            sum: 40,
            log: log.clone(),
        };
        let actor = system.spawn(Props::once(only).supervise(strategy), "counter");
        assert_eq!(actor.ask(Add(2), SECOND).await, Ok(42));
        assert_eq!(actor.ask(Panic, SECOND).await, Err(AskError::Failed));
        tokio::time::sleep(10 * SECOND).await;
        assert!(!actor.is_alive());
        assert_eq!(log.entries(), ["started", "stopped"]);
    }
}
