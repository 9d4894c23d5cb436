//! Calls from several threads: an attempt runs on the thread of its caller, and ends with it.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use kebne_actors::ActorSystem;
use kebne_lane::{Answer, Attempt, Backend, CallOptions, Failure, LaneBuilder, LaneHandle};
use tokio::runtime::{Builder, Runtime};

const DEADLINE: Duration = Duration::from_secs(30);

/// Answers with the thread that it runs on; never answers request 0.
#[derive(Default)]
struct Place {
    begun: AtomicUsize,
}

impl Backend for Place {
    type Request = u32;
    type Response = ThreadId;

    async fn attempt(&self, attempt: Attempt<u32>) -> Result<Answer<ThreadId>, Failure> {
        self.begun.fetch_add(1, SeqCst);
        if attempt.request == 0 {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        Ok(Answer::complete(thread::current().id()))
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn start(system: &ActorSystem) -> (LaneHandle<Place>, Arc<Place>) {
    let place = Arc::new(Place::default());
    let lane = LaneBuilder::new("x", Arc::clone(&place)).start(system);
    (lane.await.unwrap(), place)
}

#[actix::test]
async fn an_attempt_runs_on_the_thread_of_its_caller() {
    let system = ActorSystem::new("test", 7);
    let (lane, _) = start(&system).await;
    let threads: Vec<_> = (1..4_u32)
        .map(|request| {
            let lane = lane.clone();
            thread::spawn(move || {
                let runtime = runtime();
                for _ in 0..20 {
                    let call = lane.call(request, CallOptions::within(DEADLINE));
                    let place = runtime.block_on(call).unwrap().complete();
                    assert_eq!(place, thread::current().id());
                }
            })
        })
        .collect();
    for thread in threads {
        let joined = tokio::task::spawn_blocking(|| thread.join()).await;
        joined.unwrap().unwrap();
    }
    let here = lane.call(1, CallOptions::within(DEADLINE)).await.unwrap();
    assert_eq!(here.complete(), thread::current().id());
    system.terminate().await;
}

#[actix::test]
async fn an_attempt_whose_thread_is_gone_gives_its_slot_back() {
    let system = ActorSystem::new("test", 7);
    let (lane, place) = start(&system).await;
    let warm = lane.call(1, CallOptions::within(DEADLINE)).await.unwrap();
    warm.complete();
    let caller = lane.clone();
    let gone = thread::spawn(move || {
        let runtime = runtime();
        runtime.spawn(async move {
            let reply = caller.call(0, CallOptions::within(DEADLINE)).await;
            reply.map(kebne_lane::Reply::complete)
        });
        runtime.block_on(async {
            while place.begun.load(SeqCst) < 2 {
                tokio::task::yield_now().await;
            }
        });
    });
    let joined = tokio::task::spawn_blocking(|| gone.join()).await;
    joined.unwrap().unwrap();
    let settled = async {
        while lane.snapshot().await.unwrap().pool.in_flight > 0 {
            tokio::task::yield_now().await;
        }
    };
    let settled = tokio::time::timeout(DEADLINE, settled).await;
    assert!(settled.is_ok(), "the attempt is still in flight");
    let idle = tokio::time::timeout(DEADLINE, lane.when_idle());
    idle.await.unwrap();
    assert_eq!(lane.endings().live(), 0);
    system.terminate().await;
}
