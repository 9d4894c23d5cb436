//! Calls from several threads: an attempt runs on the thread of its caller, and ends with it. A blocked thread of the lane's
//! actors does not hide the lane.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
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
        while lane.snapshot().await.pool.in_flight > 0 {
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

#[actix::test]
async fn a_lane_whose_actors_hang_is_shown_with_its_last_numbers_and_collects_few_questions() {
    let system = ActorSystem::new("test", 7);
    let thread = actix_rt::Arbiter::new();
    let lane = LaneBuilder::new("x", Arc::new(Place::default())).on_arbiter(thread.handle());
    let lane = lane.start(&system).await.unwrap();
    let reply = lane.call(1, CallOptions::within(DEADLINE)).await.unwrap();
    reply.complete();
    let settled = async {
        while lane.snapshot().await.pool.in_flight > 0 {
            tokio::task::yield_now().await;
        }
        lane.snapshot().await
    };
    let before = tokio::time::timeout(DEADLINE, settled).await.unwrap();
    assert!(!before.stale && before.workers > 0, "{before:?}");
    let (hangs, hung) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    assert!(thread.spawn(async move {
        hangs.send(()).unwrap();
        released.recv().unwrap();
    }));
    hung.recv().unwrap();
    let looks = (0..100).map(|_| lane.snapshot());
    for seen in futures_util::future::join_all(looks).await {
        assert!(seen.stale, "nobody answered");
        assert_eq!(seen.workers, before.workers);
        assert_eq!(seen.state_changes, before.state_changes);
        assert_eq!(seen.endings.live(), 0);
    }
    let waiting: usize = system.tree().iter().map(|actor| actor.mailbox).sum();
    assert!((2..=66).contains(&waiting), "{waiting} questions wait");
    release.send(()).unwrap();
    let answers = async {
        while lane.snapshot().await.stale {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, answers).await.unwrap();
    system.terminate().await;
}
