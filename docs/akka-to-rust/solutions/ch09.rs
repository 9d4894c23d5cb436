//! Exercise 9. A model loads at its first call, answers four calls at a time, and answers with 503 or 429 otherwise: then it has
//! done nothing. The lane is told that all of it is a failure. Tell it what each answer means.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use kebne_actors::ActorSystem;
use kebne_lane::{
    Answer, Attempt, Backend, CallOptions, Failure, LaneBuilder, LaneFlowExt, Outcome,
};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, sleep},
};

/// What an answer with this status means; `estimated` is the model's estimate of the time that it still loads.
fn classify(status: u16, estimated: Option<Duration>) -> Outcome {
    match status {
        503 => Outcome::Cold { estimated },
        429 => Outcome::Limit,
        _ => Outcome::Fault,
    }
}

// The check: leave it as it is.

struct Model {
    places: Semaphore,
    ready_from: OnceCell<Instant>,
    calls: AtomicU32,
}

impl Model {
    async fn call(&self, prompt: u32) -> Result<String, (u16, Option<Duration>)> {
        self.calls.fetch_add(1, SeqCst);
        let loading = async || Instant::now() + Duration::from_secs(8);
        let ready_from = *self.ready_from.get_or_init(loading).await;
        let left = ready_from.saturating_duration_since(Instant::now());
        if left > Duration::ZERO {
            return Err((503, Some(left)));
        }
        let _place = self.places.try_acquire().map_err(|_| (429, None))?;
        sleep(Duration::from_millis(300)).await;
        Ok(format!("answer {prompt}"))
    }
}

impl Backend for Model {
    type Request = u32;
    type Response = String;

    async fn attempt(&self, attempt: Attempt<u32>) -> Result<Answer<String>, Failure> {
        match self.call(attempt.request).await {
            Ok(answer) => Ok(Answer::complete(answer)),
            Err((status, estimated)) => {
                let failure = Failure::new(classify(status, estimated), "no answer");
                Err(failure.with_status(status))
            }
        }
    }
}

pub(crate) async fn check() {
    tokio::time::pause();
    let model = Arc::new(Model {
        places: Semaphore::new(4),
        ready_from: OnceCell::new(),
        calls: AtomicU32::new(0),
    });
    let system = ActorSystem::new("exercise", 1);
    let lane = LaneBuilder::new("model", Arc::clone(&model));
    let lane = lane.start(&system).await.unwrap();
    let answers = stream::iter(0..60)
        .via_lane(&lane)
        .options(CallOptions::within(Duration::from_mins(5)));
    let answers: Vec<_> = answers.collect().await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(answered, 60, "exercise 9: every prompt is answered");
    let calls = model.calls.load(SeqCst);
    assert!(
        calls < 100,
        "exercise 9: {calls} calls for 60 prompts are too many"
    );
}
