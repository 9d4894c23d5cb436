//! Whoever embeds a lane can name every type of its interface with this crate alone.

use std::{sync::Arc, time::Duration};

use kebne_lane::{
    Answer, ArbiterHandle, Attempt, Backend, BucketGrant, Bytes, CallGuard, CallOptions,
    CancellationToken, ControllerReport, Ending, EndingCounts, Failure, Grant, Kind, LaneBuilder,
    LaneFlowExt, LaneHandle, LaneSnapshot, LaneState, LoadTimes, Momentary, NoAnswer, Outcome,
    Permission, PoolReport, PriorityReport, QuotaHints, Repeats, Replies, Reply, Snapshot, Tail,
    TailEnding, Timestamp, ViaLane,
};

struct Echo;

impl Backend for Echo {
    type Request = u32;
    type Response = u32;

    async fn attempt(&self, attempt: Attempt<u32>) -> Result<Answer<u32>, Failure> {
        let cancelled: CancellationToken = attempt.cancelled;
        if attempt.request == 0 {
            let mut failure = Failure::new(Outcome::Client, "zero");
            let (body, quota): (Option<Bytes>, QuotaHints) = (None, QuotaHints::default());
            (failure.body, failure.quota) = (body, quota);
            return Err(failure);
        }
        let tail: Tail = Box::pin(async move {
            let ending = if cancelled.is_cancelled() {
                Outcome::Cancelled
            } else {
                Outcome::Success { tokens: None }
            };
            TailEnding {
                outcome: ending,
                error: None,
            }
        });
        Ok(Answer::streamed(attempt.request, tail))
    }
}

/// The parts of a snapshot.
type Parts = (
    LaneState,
    Vec<PriorityReport>,
    EndingCounts,
    Permission,
    Option<BucketGrant>,
    Option<Timestamp>,
);

fn parts(snapshot: LaneSnapshot) -> Parts {
    let (controller, pool): (ControllerReport, PoolReport) = (snapshot.controller, snapshot.pool);
    let grant: Grant = controller.grant;
    let (state, endings) = (snapshot.state, snapshot.endings);
    let (bucket, ready) = (grant.requests, grant.ready_eta);
    (
        state,
        pool.priorities,
        endings,
        grant.permission,
        bucket,
        ready,
    )
}

/// The parts of what was learned.
fn learned_parts(snapshot: Snapshot) -> (LoadTimes, Option<Momentary>) {
    (snapshot.load_times, snapshot.momentary)
}

#[actix::test]
async fn every_type_of_the_interface_has_a_name() {
    let system = kebne_actors::ActorSystem::new("test", 1);
    let arbiter: ArbiterHandle = actix_rt::Arbiter::current();
    let builder: LaneBuilder<Echo> = LaneBuilder::new("echo", Arc::new(Echo)).on_arbiter(arbiter);
    let lane: LaneHandle<Echo> = builder.start(&system).await.unwrap();
    let options = CallOptions {
        repeats: Repeats::Undone,
        kind: Kind::default(),
        ..CallOptions::within(Duration::from_secs(5))
    };
    let reply: Reply<u32> = lane.call(1, options).await.unwrap();
    assert_eq!((*reply.response(), reply.attempts()), (1, 1));
    let (response, guard): (u32, CallGuard) = reply.into_parts();
    guard.finish(Ending::Success);
    assert_eq!(response, 1);
    let flow: ViaLane<_, Echo> = futures_util::stream::iter([2]).via_lane(&lane);
    let mut replies: Replies<Echo> = flow.replies();
    let reply = futures_util::StreamExt::next(&mut replies).await;
    assert_eq!(reply.unwrap().unwrap().complete(), 2);
    let endings: EndingCounts = parts(lane.snapshot().await).2;
    assert_eq!(endings.of(Ending::Success), 2);
    assert!(lane.learned().map(learned_parts).is_some());
    let closed: Result<bool, NoAnswer> = lane.close("as the test says").await;
    assert_eq!(closed, Ok(true));
    system.terminate().await;
}
