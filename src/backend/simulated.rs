//! The simulated model inside this process, with the results that a client of its server would get.
//!
//! Time is tokio's, so with paused time a test passes minutes of cold starts in no real time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use kebne_control::Outcome;
use kebne_lab::simulate::{
    Fault, LiveModel, Place, Profile, Status, Work, WorkEnding,
    dialect::{self, Ask, BadAsk, Writer},
    text::Text,
    work_of,
};
use kebne_lane::{Answer, Attempt, Failure};
use tokio::time::sleep;

use crate::{
    backend::pump::{self, EventSource},
    llm::{Endpoint, ModelRequest, ModelResponse, Usage, whole_answer},
    unix_time,
};

/// A model inside this process.
#[derive(Debug)]
pub struct SimulatedBackend {
    model: LiveModel,
    /// Numbers the calls, for the ids in answers.
    calls: AtomicU64,
}

impl SimulatedBackend {
    /// Creates a model with the behaviour of the profile, starting now.
    pub fn new(profile: Profile) -> Self {
        Self {
            model: LiveModel::new(profile),
            calls: AtomicU64::new(1),
        }
    }

    /// Returns the current state of the model.
    pub fn status(&self) -> Status {
        self.model.status()
    }

    /// Unloads the model, so that the next call starts it cold. Returns `false` if it has no cold start.
    pub fn fall_asleep(&self) -> bool {
        self.model.fall_asleep()
    }

    /// Returns the number of calls that the warm model serves per second.
    pub fn calls_per_second(&self) -> f64 {
        self.model.profile().calls_per_second()
    }

    /// Makes one attempt.
    ///
    /// # Errors
    /// Returns the failure that the model determines, or that of an invalid request body.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let ask = Ask::parse(&request.body).map_err(|bad| not_understood(&bad))?;
        ask.check(request.endpoint)
            .map_err(|bad| not_understood(&bad))?;
        let (decision, fault, place) = self.model.arrive();
        let work = work_of(decision).map_err(|failure| self.with_quota(failure))?;
        let work = suffer(fault, work, self.model.profile().slow_latency).await?;
        sleep(work.first_token).await;
        if work.ending == WorkEnding::Failed {
            return Err(Failure::new(Outcome::Fault, "the simulated model failed").with_status(500));
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let writer = Writer::new(
            request.endpoint,
            &ask,
            &format!("simulated-{number}"),
            unix_time::seconds(),
        );
        if request.endpoint == Endpoint::Embeddings {
            let usage = Usage {
                input: Some(ask.prompt_tokens()),
                ..Usage::default()
            };
            return Ok(whole_answer(dialect::embeddings(&ask).into(), usage));
        }
        let wanted = self.model.profile().answer_tokens;
        let text = Text::answer(&ask.last_turn(), wanted, ask.max());
        let broken_after = work.broken_after(fault, text.tokens.len());
        if request.stream {
            let source = Tokens {
                input: ask.prompt_tokens(),
                text,
                writer,
                work,
                fault,
                broken_after,
                next: 0,
                _place: place,
            };
            return streamed(source, attempt).await;
        }
        let tokens = u32::try_from(text.tokens.len()).unwrap_or(u32::MAX);
        sleep(work.token_time.saturating_mul(tokens.saturating_sub(1))).await;
        if broken_after.is_some() {
            return Err(broken());
        }
        let usage = Usage {
            input: Some(ask.prompt_tokens()),
            ..Usage::of_output(Some(tokens))
        };
        Ok(whole_answer(writer.whole(&text).into(), usage))
    }

    fn with_quota(&self, mut failure: Failure) -> Failure {
        failure.quota = self.model.quota();
        failure
    }
}

/// The tokens of a streamed answer, each when it is due.
struct Tokens {
    /// The tokens of the prompt.
    input: u64,
    text: Text,
    writer: Writer,
    work: Work,
    fault: Option<Fault>,
    /// The number of tokens after which the stream breaks, if it does.
    broken_after: Option<usize>,
    next: usize,
    _place: Option<Place>,
}

impl EventSource for Tokens {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let count = self.text.tokens.len();
        if self.broken_after == Some(self.next) {
            match self.fault {
                Some(Fault::Stall) => std::future::pending::<()>().await,
                Some(Fault::ErrorEvent) => {
                    return Err(Failure::new(
                        Outcome::Fault,
                        "the simulated model reported an error in its stream",
                    ));
                }
                _ => return Err(broken()),
            }
        }
        if self.next > count {
            return Ok(None);
        }
        let events = if let Some(token) = self.text.tokens.get(self.next) {
            if self.next > 0 {
                sleep(self.work.token_time).await;
            }
            self.writer.token(token, self.next == 0)
        } else {
            self.writer.end(&self.text)
        };
        self.next += 1;
        Ok(Some(Bytes::from(events)))
    }

    fn tokens(&self) -> Option<u32> {
        u32::try_from(self.text.tokens.len().min(self.next)).ok()
    }

    fn usage(&self) -> Usage {
        Usage {
            input: Some(self.input),
            ..Usage::of_output(self.tokens())
        }
    }

    fn is_complete(&self) -> bool {
        self.next > self.text.tokens.len()
    }
}

/// Takes the first token and leaves the rest to the tail.
async fn streamed(
    mut source: Tokens,
    attempt: Attempt<ModelRequest>,
) -> Result<Answer<ModelResponse>, Failure> {
    let first = source.next().await?.ok_or_else(broken)?;
    let source = pump::Timed::new(source, attempt.idle_timeout);
    Ok(pump::stream(first, source, attempt.cancelled))
}

/// Applies a requested fault before the first token.
async fn suffer(fault: Option<Fault>, work: Work, slow_latency: Duration) -> Result<Work, Failure> {
    let failed =
        |outcome, status, message: &str| Err(Failure::new(outcome, message).with_status(status));
    match fault {
        Some(Fault::Reset) => Err(Failure::new(
            Outcome::Fault,
            "the simulated model closed the connection",
        )),
        Some(Fault::Garbage | Fault::EndlessLine) => Err(Failure::new(
            Outcome::Fault,
            "the simulated model sent no answer that can be read",
        )),
        Some(Fault::Http500) => failed(Outcome::Fault, 500, "the simulated model failed"),
        Some(Fault::Overloaded) => failed(Outcome::Limit, 503, "the simulated model is overloaded"),
        Some(Fault::Quota) => failed(
            Outcome::Quota { reset: None },
            429,
            "the simulated quota is used up",
        ),
        Some(Fault::RateLimit) => {
            let retry_after = Some(Duration::from_secs(1));
            failed(
                Outcome::Rate {
                    retry_after,
                    slow_down: false,
                },
                429,
                "the simulated model is asked too often",
            )
        }
        Some(Fault::Loading) => failed(
            Outcome::Cold { estimated: None },
            503,
            "the simulated model is loading",
        ),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Panic) => panic_as_ordered(),
        Some(Fault::SlowFirstToken) => Ok(Work {
            first_token: slow_latency,
            ..work
        }),
        Some(Fault::HalfStream | Fault::Stall | Fault::ErrorEvent | Fault::NoDone) | None => {
            Ok(work)
        }
    }
}

/// Panics, to test the effect of a panic in a backend.
#[expect(clippy::panic, reason = "the fault that was ordered is a panic")]
fn panic_as_ordered() -> ! {
    panic!("the simulated model panics as ordered")
}

fn broken() -> Failure {
    Failure::new(Outcome::Fault, "the simulated model broke off")
}

fn not_understood(bad: &BadAsk) -> Failure {
    let mut failure = Failure::new(Outcome::Client, &bad.message).with_status(400);
    failure.body = Some(Bytes::from(dialect::bad_ask(bad)));
    failure
}

#[cfg(test)]
mod tests;
