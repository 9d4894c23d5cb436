//! A model server that behaves like a hosted one of Hugging Face's: it loads when it is first called, and then answers four
//! calls at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use crate::MS;

/// The body of a call.
#[derive(Deserialize)]
pub(crate) struct Input {
    inputs: String,
}

/// The calls that reached a model, by their ends.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u32,
    pub(crate) loading: u32,
    pub(crate) refused: u32,
    pub(crate) failed: u32,
    pub(crate) answered: u32,
}

/// One model, for one program.
struct Model {
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready_from: Option<Instant>,
    tries: BTreeMap<u32, u32>,
    counts: Counts,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            places: Semaphore::new(4),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn infer(&self, prompt: u32) -> HttpResponse {
        let tries = {
            let mut state = self.state();
            state.counts.calls += 1;
            let now = Instant::now();
            let ready_from = *state.ready_from.get_or_insert(now + 800 * MS);
            if now < ready_from {
                state.counts.loading += 1;
                let left = (ready_from - now).as_secs_f64();
                return HttpResponse::ServiceUnavailable().body(format!(
                    r#"{{"error":"Model tiny is currently loading","estimated_time":{left:.3}}}"#
                ));
            }
            let tries = state.tries.entry(prompt).or_default();
            *tries += 1;
            *tries
        };
        let Ok(_place) = self.places.try_acquire() else {
            self.state().counts.refused += 1;
            return HttpResponse::TooManyRequests().body(r#"{"error":"too many requests"}"#);
        };
        sleep(MS * if prompt.is_multiple_of(5) { 300 } else { 30 }).await;
        if prompt % 10 == 3 && tries == 1 {
            self.state().counts.failed += 1;
            return HttpResponse::InternalServerError().body(r#"{"error":"out of memory"}"#);
        }
        self.state().counts.answered += 1;
        HttpResponse::Ok().body(format!(r#"[{{"generated_text":"answer {prompt}"}}]"#))
    }
}

/// The models, one for each program that calls.
#[derive(Clone, Default)]
pub(crate) struct Models(Arc<Mutex<BTreeMap<String, Arc<Model>>>>);

impl Models {
    fn of(&self, program: &str) -> Arc<Model> {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(program.to_owned()).or_insert_with(Model::new))
    }

    pub(crate) fn counts(&self, program: &str) -> Counts {
        self.of(program).state().counts
    }
}

/// Answers `POST /{program}/models/tiny`.
pub(crate) async fn infer(
    models: web::Data<Models>,
    program: web::Path<String>,
    input: web::Json<Input>,
) -> HttpResponse {
    let prompt = input.inputs.rsplit(' ').next().unwrap_or_default().parse();
    match prompt {
        Ok(prompt) => models.of(&program).infer(prompt).await,
        Err(_) => HttpResponse::BadRequest().finish(),
    }
}
