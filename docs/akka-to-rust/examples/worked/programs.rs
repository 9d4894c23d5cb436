//! The program of chapter 9 in Rust: with the operators of the others, and through a lane.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use kebne_actors::ActorSystem;
use kebne_lane::{
    Answer, Attempt, Backend, CallOptions, Failure, LaneBuilder, LaneFlowExt, Outcome,
};
use kebne_streams::{FlowExt, MapOptions, Pace, retry::Retry};
use tokio::time::timeout;

use crate::MS;

const PROMPTS: u32 = 100;

/// Calls the model, and classifies what it answers.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: Arc<str>,
}

impl Client {
    pub(crate) fn new(http: &reqwest::Client, url: String) -> Self {
        Self {
            http: http.clone(),
            url: url.into(),
        }
    }

    async fn call_model(&self, prompt: u32) -> Result<String, Failure> {
        let lost = |error: reqwest::Error| Failure::new(Outcome::Fault, error.to_string());
        let body = format!(r#"{{"inputs": "prompt {prompt}"}}"#);
        let request = self.http.post(&*self.url);
        let request = request.header("content-type", "application/json");
        let response = request.body(body).send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(lost)?;
        let outcome = match status {
            200 => return Ok(text),
            503 => Outcome::Cold {
                estimated: estimated_time(&text),
            },
            429 => Outcome::Limit,
            _ => Outcome::Fault,
        };
        Err(Failure::new(outcome, text).with_status(status))
    }
}

/// Reads how long the model still loads.
fn estimated_time(body: &str) -> Option<Duration> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Duration::try_from_secs_f64(body["estimated_time"].as_f64()?).ok()
}

/// The operators of the Scala program, and its numbers.
pub(crate) async fn operators(client: Client) -> Result<usize, Box<dyn std::error::Error>> {
    let slow = stream::iter(0..20).throttle(Pace::new(1, 50 * MS)?);
    let fast = stream::iter(20..PROMPTS).throttle(Pace::new(10, 100 * MS)?);
    let retry = Retry::times(2).after(30 * MS);
    let answers =
        slow.chain(fast)
            .map_async_with(MapOptions::ordered(4).resuming(|_| true), move |prompt| {
                let (retry, client) = (retry.clone(), client.clone());
                async move {
                    let attempt = || async {
                        let late = |_| Failure::new(Outcome::Timeout, "too late");
                        timeout(200 * MS, client.call_model(prompt))
                            .await
                            .map_err(late)?
                    };
                    retry.run(attempt).await
                }
            });
    Ok(answers
        .filter(|answer| std::future::ready(answer.is_ok()))
        .count()
        .await)
}

impl Backend for Client {
    type Request = u32;
    type Response = String;

    async fn attempt(&self, attempt: Attempt<u32>) -> Result<Answer<String>, Failure> {
        self.call_model(attempt.request).await.map(Answer::complete)
    }
}

/// No numbers: the lane measures them.
pub(crate) async fn lane(client: Client) -> Result<usize, Box<dyn std::error::Error>> {
    let system = ActorSystem::new("prompts", 1);
    let lane = LaneBuilder::new("tiny", Arc::new(client))
        .start(&system)
        .await?;
    let answers = stream::iter(0..PROMPTS)
        .via_lane(&lane)
        // A call may run twice: only the caller knows that a repetition is safe.
        .options(CallOptions::within(Duration::from_mins(1)).idempotent());
    let answered = answers
        .filter(|answer| std::future::ready(answer.is_ok()))
        .count()
        .await;
    system.terminate().await;
    Ok(answered)
}

/// Installs the implementation of TLS that the client asks for, though it speaks plain HTTP here.
pub(crate) fn http_client() -> Result<reqwest::Client, Box<dyn std::error::Error>> {
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .map_err(|_| "a provider is installed")?;
    Ok(reqwest::Client::builder().no_proxy().build()?)
}
