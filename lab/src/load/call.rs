//! One call of a load: it is sent, read to its end, and classified.

use std::time::Duration;

use reqwest::{Client, Response, Url, header};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::load::{LoadError, Offered, Plan, Target};

/// Time that a caller waits after its deadline, so that the service can report the timeout.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The number of bytes at the end of an answer that are searched for its end.
const TAIL: usize = 4096;

/// The ending of a call, as its caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered in full, within the deadline.
    Served,
    /// Refused (429 or 503), for this reason.
    Shed(String),
    /// Not answered in full, or too late, for this cause.
    Failed(String),
}

/// A call that has ended.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its number in the plan.
    pub id: usize,
    /// The delay between its due time and its sending.
    pub late: Duration,
    /// The time from its due time to its end.
    pub latency: Duration,
    /// The time from its due time to the first bytes of a streamed answer.
    pub first_part: Option<Duration>,
    /// Its ending.
    pub end: End,
}

impl Call {
    /// Returns the result of a call for which the driver had no room.
    pub(super) fn not_sent(offered: Offered) -> Self {
        Self {
            id: offered.id,
            late: Duration::ZERO,
            latency: Duration::ZERO,
            first_part: None,
            end: End::Failed("not_sent".to_owned()),
        }
    }
}

/// Sends calls over one pool of connections.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    url: Url,
    model: String,
    key: Option<String>,
    deadline: Duration,
    stream: bool,
    max_tokens: Option<u32>,
}

impl Sender {
    pub(super) fn new(target: &Target, plan: &Plan) -> Result<Self, LoadError> {
        let mut url = target.url.clone();
        url.path_segments_mut()
            .map_err(|()| LoadError::Url(target.url.clone()))?
            .pop_if_empty()
            .extend(["chat", "completions"]);
        let client = target.client.clone();
        Ok(Self {
            client,
            url,
            model: target.model.clone(),
            key: target.key.clone(),
            deadline: plan.deadline,
            stream: plan.stream,
            max_tokens: plan.max_tokens,
        })
    }

    /// Sends a call that is due and reads its answer.
    pub(super) async fn send(&self, offered: Offered, due: Instant) -> Call {
        let late = due.elapsed();
        let mut first_part = None;
        let answered = self.exchange(offered.id, due, &mut first_part);
        let ended = timeout_at(due + self.deadline + ANSWER_TIMEOUT, answered).await;
        let latency = due.elapsed();
        let end = match ended {
            Ok(End::Served) if latency > self.deadline => End::Failed("too_late".to_owned()),
            Ok(end) => end,
            Err(_) => End::Failed("no_answer".to_owned()),
        };
        Call {
            id: offered.id,
            late,
            latency,
            first_part,
            end,
        }
    }

    async fn exchange(&self, id: usize, due: Instant, first_part: &mut Option<Duration>) -> End {
        let mut body = json!({
            "model": self.model, "stream": self.stream,
            "messages": [{"role": "user", "content": format!("call {id}")}],
        });
        if let Some(max_tokens) = self.max_tokens {
            body["max_tokens"] = json!(max_tokens);
        }
        let left = self.deadline.saturating_sub(due.elapsed()).as_millis();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-kebne-deadline-ms", left.max(1).to_string())
            .body(body.to_string());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return End::Failed("connect".to_owned()),
            Err(_) => return End::Failed("connection".to_owned()),
        };
        let status = response.status().as_u16();
        if status != 200 {
            return refused(status, response).await;
        }
        self.read(response, due, first_part).await
    }

    /// Reads an answer to its end. A stream is complete only with its end marker.
    async fn read(
        &self,
        mut response: Response,
        due: Instant,
        first_part: &mut Option<Duration>,
    ) -> End {
        let mut tail = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    if self.stream {
                        first_part.get_or_insert_with(|| due.elapsed());
                    }
                    tail.extend_from_slice(&bytes);
                    let surplus = tail.len().saturating_sub(TAIL);
                    tail.drain(..surplus);
                }
                Ok(None) => break,
                Err(_) => return End::Failed("broken".to_owned()),
            }
        }
        if !self.stream {
            return End::Served;
        }
        let tail = String::from_utf8_lossy(&tail);
        if tail.trim_end().ends_with("data: [DONE]") && !tail.contains("\"error\"") {
            End::Served
        } else {
            End::Failed("broken".to_owned())
        }
    }
}

/// Classifies a refusal or an error by its code, or by its status.
async fn refused(status: u16, response: Response) -> End {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    let reason = header("x-kebne-reason");
    let reason = match reason {
        Some(reason) => reason,
        None => code(response)
            .await
            .unwrap_or_else(|| format!("status_{status}")),
    };
    match status {
        429 | 503 | 529 => End::Shed(reason),
        504 => End::Failed(format!("timeout: {reason}")),
        _ => End::Failed(reason),
    }
}

/// Reads the code in the error of a service that is not Kebne.
async fn code(response: Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.bytes().await.ok()?).ok()?;
    Some(body["error"]["code"].as_str()?.to_owned())
}
