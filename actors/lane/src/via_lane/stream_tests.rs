use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::stream;
use kebne_actors::ActorSystem;
use kebne_control::Outcome;

use super::*;
use crate::{Answer, Attempt, Failure, LaneBuilder, LaneSettings};

const MS: Duration = Duration::from_millis(1);

fn oks<T: fmt::Debug, E: fmt::Debug>(items: Vec<Result<T, E>>) -> Vec<T> {
    items.into_iter().map(Result::unwrap).collect()
}

/// Serves a fixed number at a time and refuses the rest; even requests take longer; the request 13 is invalid.
struct Seats {
    free: tokio::sync::Semaphore,
    served: AtomicUsize,
}

impl Backend for Seats {
    type Request = u32;
    type Response = u32;

    async fn attempt(&self, attempt: Attempt<u32>) -> Result<Answer<u32>, Failure> {
        let full = |_| Failure::new(Outcome::Limit, "all seats are taken");
        let _seat = self.free.try_acquire().map_err(full)?;
        if attempt.request == 13 {
            return Err(Failure::new(Outcome::Client, "thirteen"));
        }
        let slow = if attempt.request.is_multiple_of(2) {
            3
        } else {
            1
        };
        sleep(MS * 20 * slow).await;
        self.served.fetch_add(1, SeqCst);
        Ok(Answer::complete(attempt.request))
    }
}

struct Bench {
    lane: LaneHandle<Seats>,
    seats: Arc<Seats>,
    _system: ActorSystem,
}

async fn bench(settings: LaneSettings) -> Bench {
    tokio::time::pause();
    let seats = Arc::new(Seats {
        free: tokio::sync::Semaphore::new(4),
        served: AtomicUsize::new(0),
    });
    let system = ActorSystem::new("test", 7);
    let builder = LaneBuilder::new("seats", Arc::clone(&seats)).settings(settings);
    Bench {
        lane: builder.start(&system).await.unwrap(),
        seats,
        _system: system,
    }
}

#[actix::test]
async fn every_request_is_answered_in_order_though_the_lane_refuses_some() {
    let settings = LaneSettings {
        queue_max: 1,
        ..LaneSettings::default()
    };
    let bench = bench(settings).await;
    let requests = (0..60).filter(|n| *n != 13);
    let answers = stream::iter(requests.clone()).via_lane(&bench.lane);
    assert_eq!(oks(answers.collect().await), requests.collect::<Vec<_>>());
    assert_eq!(bench.lane.live(), 0);
}

#[actix::test]
async fn unordered_answers_come_as_they_are_done() {
    let bench = bench(LaneSettings::default()).await;
    let answers = stream::iter(0..12).via_lane(&bench.lane).unordered();
    let answers = oks(answers.collect().await);
    let mut sorted = answers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..12).collect::<Vec<_>>());
    assert_ne!(answers, sorted);
}

#[actix::test]
async fn an_error_is_an_element_and_the_stream_goes_on() {
    let bench = bench(LaneSettings::default()).await;
    let answers = stream::iter([11, 13, 15]).via_lane(&bench.lane);
    let answers = answers.collect::<Vec<_>>().await;
    assert!(matches!(
        &answers[..],
        [Ok(11), Err(CallError::Failed { .. }), Ok(15)]
    ));
}

#[actix::test]
async fn the_lane_admits_no_more_than_its_limit_and_a_few_that_wait() {
    let bench = bench(LaneSettings::default()).await;
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let source = stream::iter(0..1000).inspect(move |_| {
        count.fetch_add(1, SeqCst);
    });
    let mut answers = source.via_lane(&bench.lane);
    let limit = usize::try_from(bench.lane.limit()).unwrap();
    let first = tokio::time::timeout(MS, answers.next()).await;
    assert!(first.is_err());
    assert_eq!(pulled.load(SeqCst), limit + 2);
}

#[actix::test]
async fn a_lane_that_drains_is_not_waited_for() {
    let bench = bench(LaneSettings::default()).await;
    bench.lane.drain().await;
    let answers = stream::iter([1]).via_lane(&bench.lane);
    let answers = answers.collect::<Vec<_>>().await;
    let reason = RefusalReason::Draining;
    assert!(
        matches!(&answers[..], [Err(CallError::Refused { reason: r, .. })] if *r == reason),
        "{answers:?}"
    );
}

#[actix::test]
async fn dropping_the_stream_cancels_its_calls() {
    let bench = bench(LaneSettings::default()).await;
    let mut answers = stream::iter(0..9).via_lane(&bench.lane);
    assert!(tokio::time::timeout(MS, answers.next()).await.is_err());
    assert!(bench.lane.live() > 0);
    drop(answers);
    sleep(MS).await;
    assert_eq!((bench.lane.live(), bench.seats.served.load(SeqCst)), (0, 0));
}
