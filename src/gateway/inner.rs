//! Calls that the gateway makes itself, for a call of a caller or in the background: checks, embeddings, summaries, judgements.
//!
//! They go through the lanes like all other calls, with a time, and what they use counts in the accounts of those on whose behalf they are
//! made. Each is counted by its purpose and its ending, once, when it ends or is dropped; what it has used, by its purpose and the key that
//! pays.

use std::{
    collections::BTreeMap,
    slice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use kebne_accounts::Denied;
use kebne_lane::{CallOptions, Ending};
use kebne_quota::{Estimate, Exceeded, Money};
use kebne_wire::request::{Endpoint, Parsed, RequestError, parse};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    cost::{Asked, Consumed},
    gateway::{Gateway, behalf::Behalf},
    llm::{ModelBody, kind_of},
};

/// The most sums of used tokens that are kept, each of one purpose and key. What further keys use counts in the budgets alone.
const SPENT_MAX: usize = 8192;

/// What a call is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A guard has texts checked by a moderation model.
    Moderation,
    /// Vectors of texts.
    Embedding,
    /// What was found is brought into a better order.
    Rerank,
    /// A summary of the turns of a session.
    Summary,
    /// The facts in the turns of a session.
    Facts,
    /// Whether a kept answer fits a question.
    Judgement,
    /// Which intent a question has.
    Intent,
    /// A copy of a call for a model that is tried out.
    Shadow,
}

/// A call that the gateway makes.
#[derive(Debug)]
pub struct InnerCall<'a> {
    /// What it is made for.
    pub purpose: Purpose,
    /// The model, by its own name.
    pub model: &'a str,
    /// The operation.
    pub endpoint: Endpoint,
    /// The body, with the model.
    pub body: Value,
    /// The time for the answer, the wait for a model that loads included.
    pub time: Duration,
    /// The priority in the lane; 0 is served first.
    pub priority: u8,
    /// For whom it is made.
    pub behalf: &'a Behalf,
    /// The limits of the accounts that it keeps.
    pub keeps: Keeps,
}

/// The limits that an inner call keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// All limits, as a call of a caller does.
    AllLimits,
    /// The budgets. The limits per minute and of calls at once are for calls of callers, and work in the background would wait for them in
    /// vain while such a call runs.
    Budgets,
    /// None: what it belongs to was admitted.
    NoLimit,
}

/// The reason why an inner call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InnerError {
    /// There was no answer in time.
    #[error("there was no answer in time")]
    Slow,
    /// A limit has no room for the call.
    #[error("{}", denial(.0))]
    Denied(Denied),
    /// The call cannot be made of its body.
    #[error("{0}")]
    Invalid(RequestError),
    /// The model did not answer.
    #[error("the model did not answer: {message}")]
    NoAnswer {
        /// Why not.
        message: String,
        /// `true` if the backend refused this very call, so that a retry would fail again.
        is_final: bool,
    },
    /// The answer is not what the operation returns.
    #[error("the answer is not the expected JSON")]
    Unreadable,
}

/// How often inner calls of one purpose ended, and the seconds that they took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InnerCount {
    /// Those with an answer that could be used.
    pub answered: u64,
    /// Those without.
    pub failed: u64,
    /// The time that all of them took.
    pub time: Duration,
}

/// What inner calls have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens of input and output.
    pub tokens: u64,
    /// Their cost, in units of the currency.
    pub cost: Money,
}

/// What inner calls have used, by their purpose and the name of the key that pays; the name is empty if nobody does.
pub type SpentByKey = BTreeMap<(Purpose, Arc<str>), Spent>;

/// Counts inner calls by purpose.
#[derive(Debug, Default)]
pub struct InnerCounts {
    counters: [Counters; Purpose::ALL.len()],
    spent: Mutex<SpentByKey>,
}

#[derive(Debug, Default)]
struct Counters {
    answered: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
}

/// Counts one call when it is dropped.
struct Counting<'a> {
    counters: &'a Counters,
    began: Instant,
    is_answered: bool,
}

impl Purpose {
    /// All purposes.
    pub const ALL: [Self; 8] = [
        Self::Moderation,
        Self::Embedding,
        Self::Rerank,
        Self::Summary,
        Self::Facts,
        Self::Judgement,
        Self::Intent,
        Self::Shadow,
    ];

    /// Returns the name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Moderation => "moderation",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
            Self::Summary => "summary",
            Self::Facts => "facts",
            Self::Judgement => "judgement",
            Self::Intent => "intent",
            Self::Shadow => "shadow",
        }
    }
}

impl InnerCounts {
    /// Returns the counts by purpose.
    pub fn all(&self) -> impl Iterator<Item = (Purpose, InnerCount)> {
        let counts = Purpose::ALL.into_iter().zip(&self.counters);
        counts.map(|(purpose, counters)| {
            let count = InnerCount {
                answered: counters.answered.load(Relaxed),
                failed: counters.failed.load(Relaxed),
                time: Duration::from_micros(counters.micros.load(Relaxed)),
            };
            (purpose, count)
        })
    }

    /// Returns what they have used.
    pub fn spent(&self) -> SpentByKey {
        self.sums().clone()
    }

    fn add(&self, purpose: Purpose, key: &Arc<str>, consumed: &Consumed) {
        let mut sums = self.sums();
        let place = (purpose, Arc::clone(key));
        if sums.len() >= SPENT_MAX && !sums.contains_key(&place) {
            return;
        }
        let spent = sums.entry(place).or_default();
        spent.tokens = spent.tokens.saturating_add(consumed.tokens);
        let cost = consumed.cost.unwrap_or_default();
        spent.cost = spent.cost.saturating_add(cost);
    }

    fn sums(&self) -> MutexGuard<'_, SpentByKey> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, purpose: Purpose) -> Counting<'_> {
        Counting {
            counters: &self.counters[purpose as usize],
            began: Instant::now(),
            is_answered: false,
        }
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        let counter = if self.is_answered {
            &self.counters.answered
        } else {
            &self.counters.failed
        };
        counter.fetch_add(1, Relaxed);
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.micros.fetch_add(micros, Relaxed);
    }
}

/// Makes an inner call. `read` takes of the answer what is wanted; `None` counts as an answer that cannot be used.
///
/// # Errors
/// See [`InnerError`].
pub async fn ask<T>(
    gateway: &Gateway,
    call: InnerCall<'_>,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, InnerError> {
    let mut counting = gateway.inner_counts().begin(call.purpose);
    let time = call.time;
    let answered = timeout(time, answer(gateway, call, read)).await;
    let answer = answered.unwrap_or(Err(InnerError::Slow));
    counting.is_answered = answer.is_ok();
    answer
}

async fn answer<T>(
    gateway: &Gateway,
    call: InnerCall<'_>,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, InnerError> {
    let body = Bytes::from(call.body.to_string());
    let behalf = call.behalf;
    let id = Arc::clone(&behalf.request_id);
    let mut parsed = parse(call.endpoint, body, id).map_err(InnerError::Invalid)?;
    parsed.request.headers.clone_from(&behalf.via);
    let output = u64::from(parsed.output_tokens_max);
    let input = u64::from(parsed.tokens).saturating_sub(output);
    let asked = Asked {
        input: u32::try_from(input).unwrap_or(u32::MAX),
        generates: call.endpoint.generates(),
    };
    let prices = gateway.prices();
    let model = gateway.canonical(call.model);
    let model = model.as_deref().unwrap_or(call.model);
    let price = prices.of(model).map(|price| &**price);
    let estimate = Estimate {
        tokens: parsed.tokens.into(),
        money: price.map_or(Money::ZERO, |price| price.highest_cost(input, output)),
    };
    admit(gateway, &call, estimate)?;
    let options = options(&parsed, call.time, call.priority);
    let reply = gateway.call(call.model, None, parsed.request, options);
    let reply = reply.await.map_err(|error| InnerError::NoAnswer {
        is_final: error.is_final(),
        message: error.to_string(),
    })?;
    let lane = reply.lane.clone();
    let (response, guard) = reply.reply.into_parts();
    let body = match &response.body {
        ModelBody::Opaque(_, body) | ModelBody::Whole(body) => body.as_ref(),
        ModelBody::Stream(_) => &[],
    };
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let consumed = Consumed::of_answer(&answer, asked, (price, &lane));
    let money = consumed.cost.unwrap_or_default();
    let accounts = gateway.accounts();
    accounts.charge(&behalf.payer.accounts, consumed.tokens, money);
    let counts = gateway.inner_counts();
    counts.add(call.purpose, &behalf.payer.key, &consumed);
    let wanted = read(&answer);
    guard.finish(if wanted.is_some() {
        Ending::Success
    } else {
        Ending::Error
    });
    wanted.ok_or(InnerError::Unreadable)
}

/// Refuses a call that exceeds a limit which it keeps.
fn admit(gateway: &Gateway, call: &InnerCall<'_>, estimate: Estimate) -> Result<(), InnerError> {
    let (accounts, path) = (gateway.accounts(), &call.behalf.payer.accounts);
    let denied = match call.keeps {
        Keeps::NoLimit => None,
        Keeps::AllLimits => accounts.denies(path, estimate),
        // Of each account the budgets are looked at first.
        Keeps::Budgets => path.iter().find_map(|id| {
            let denied = accounts.denies(slice::from_ref(id), estimate)?;
            denied.exceeded.is_budget().then_some(denied)
        }),
    };
    denied.map_or(Ok(()), |denied| Err(InnerError::Denied(denied)))
}

/// Says which limit has no room for a call.
fn denial(denied: &Denied) -> String {
    let account = &denied.account;
    match denied.exceeded {
        Exceeded::Tokens(period) | Exceeded::Money(period) => {
            let period = period.name();
            format!("the budget of `{account}` for this {period} has no room for the call")
        }
        Exceeded::RequestsPerMinute => format!("`{account}` has used up its calls per minute"),
        Exceeded::TokensPerMinute => format!("`{account}` has used up its tokens per minute"),
        Exceeded::AtOnce => format!("`{account}` has as many calls in progress as it may"),
    }
}

/// Returns the properties of a call that a lane uses.
fn options(parsed: &Parsed, time: Duration, priority: u8) -> CallOptions {
    CallOptions {
        bytes: u64::try_from(parsed.request.body.len()).unwrap_or(u64::MAX),
        cost: parsed.tokens,
        cost_uncertain: parsed.output_tokens_max,
        priority,
        kind: kind_of(&parsed.request, parsed.tokens, parsed.output_tokens_max),
        ..CallOptions::within(time.max(Duration::from_millis(1)))
            .idempotent()
            .in_place()
    }
}
