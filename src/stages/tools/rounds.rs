//! The rounds of a call with tools.
//!
//! What is done next is decided by [`ToolLoop`], as it is for agents; how a call is made and what is reported of it stands here.

mod calls;

use std::{pin::Pin, rc::Rc};

use actix_web::{
    HttpResponse,
    body::{BoxBody, MessageBody, to_bytes_limited},
    web::Data,
};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use kebne_agents::{Ending as Cause, LoopStep, ToolCall, ToolLoop, Usage};
use kebne_lane::Ending;
use kebne_wire::tool_rounds::{Head, Round, RoundCall, RoundEnd, RoundsAnswer, RoundsPart};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{
    stages::{
        notes::Notes,
        shape::Shaped,
        tools::{
            Plan, PlannedTool,
            step::Steps,
            stream::{RoundsStream, Sink},
        },
    },
    state::State,
    surface::error::ApiError,
    tool_loops::Counting,
    unix_time,
};

/// What is told of the calls that were made: at most so many.
const TOLD_MAX: usize = 1000;

/// A call that is answered in rounds.
pub(in crate::stages) struct Rounds {
    steps: Rc<Steps>,
    tools: Rc<[PlannedTool]>,
    plan: Plan,
    looping: ToolLoop,
    answer: RoundsAnswer,
    began: Instant,
    /// The calls of the last answer, in their order, with their results.
    open: Vec<OpenCall>,
    /// The calls of the last answer that the caller makes itself.
    handed: Vec<RoundCall>,
    /// What the answer tells of the calls that were made.
    told: Vec<Value>,
    /// The calls of tools so far.
    made: u64,
    /// The questions to the model so far.
    asked: u32,
    /// `true` once a tool was called that may change something.
    has_acted: bool,
    counting: Counting,
}

/// A call without a result, or with one that the model has not read.
struct OpenCall {
    /// Its key in the call.
    key: String,
    /// The model's id.
    id: String,
    /// The id of the request by which it was approved.
    approval: Option<String>,
    /// The place of its tool, and the arguments, while it is made.
    begun: Option<(usize, String)>,
    /// What the answer tells of it.
    told: Option<Value>,
    result: Option<String>,
}

/// What follows an answer of the model.
enum Next {
    /// Calls of tools.
    Calls,
    /// The end of the answer, with the bound that ends it, if one does.
    End(Option<Cause>),
}

/// How a call of a tool has ended.
struct Returned {
    key: String,
    result: Result<String, String>,
}

type Calling = Pin<Box<dyn Future<Output = Returned>>>;
type Asking = Pin<Box<dyn Future<Output = Result<(HttpResponse, Notes), ApiError>>>>;

impl Rounds {
    pub(in crate::stages) fn new(state: &Data<State>, shaped: &Shaped, mut plan: Plan) -> Self {
        let steps = Rc::new(Steps::new(state, shaped));
        let tools: Rc<[PlannedTool]> = std::mem::take(&mut plan.tools).into();
        let asked = tools.iter().filter(|tool| tool.asks);
        let asked = asked.map(|tool| tool.offered.clone()).collect();
        let head = Head {
            id: format!("chatcmpl-{}", steps.id()),
            model: steps.model().to_owned(),
            created: unix_time::seconds(),
        };
        Self {
            looping: ToolLoop::new(plan.bounds, asked, 0),
            answer: RoundsAnswer::new(head, !steps.reports_steps()),
            steps,
            tools,
            plan,
            began: Instant::now(),
            open: Vec::new(),
            handed: Vec::new(),
            told: Vec::new(),
            made: 0,
            asked: 0,
            has_acted: false,
            counting: state.tool_loops.begin(),
        }
    }

    /// Makes a whole answer. Returns its parts, and all of it as one chat answer.
    pub(in crate::stages) async fn whole(mut self) -> Result<(Vec<RoundsPart>, Bytes), ApiError> {
        let mut sink = Sink::Whole(self.steps.reports_steps().then(Vec::new));
        self.bounded(&mut sink).await?;
        Ok((sink.into_parts(), self.answer.into_whole()))
    }

    /// Makes a streamed answer.
    pub(in crate::stages) fn stream(mut self) -> RoundsStream {
        RoundsStream::new(|mut sink| Box::pin(async move { self.bounded(&mut sink).await }))
    }

    /// Makes the answer within the time of the call.
    async fn bounded(&mut self, sink: &mut Sink) -> Result<(), ApiError> {
        let due = self.steps.due();
        let ran = match due {
            None => self.run(sink).await,
            Some(due) => {
                let ran = timeout_at(due, self.run(sink)).await;
                ran.unwrap_or_else(|_| Err(ApiError::deadline_passed()))
            }
        };
        ran.map_err(|error| {
            self.counting.set("failed");
            if self.has_acted {
                error.after_acts()
            } else {
                error
            }
        })
    }

    async fn run(&mut self, sink: &mut Sink) -> Result<(), ApiError> {
        for list in std::mem::take(&mut self.plan.lists) {
            sink.step(list).await;
        }
        self.take_decisions();
        loop {
            if self.carry_out(sink).await? {
                return Ok(());
            }
            let end = self.ask(sink).await?;
            if let Next::End(cause) = self.take(end) {
                self.finish(sink, cause).await;
                return Ok(());
            }
        }
    }

    /// Makes the calls that are open, several at once. Returns `true` if the answer has ended.
    async fn carry_out(&mut self, sink: &mut Sink) -> Result<bool, ApiError> {
        let mut calling: FuturesUnordered<Calling> = FuturesUnordered::new();
        loop {
            let tools = Rc::clone(&self.tools);
            let is_known = |name: &str| tools.iter().any(|tool| tool.offered == name);
            match self.looping.next(&is_known, self.now()) {
                LoopStep::Call(calls) => {
                    for call in calls {
                        match self.begin(sink, call).await {
                            Ok(call) => calling.push(call),
                            Err(refused) => self.returned(sink, refused).await,
                        }
                    }
                }
                LoopStep::Refuse(call, why) => {
                    let key = call.id;
                    let result = Err(why);
                    self.returned(sink, Returned { key, result }).await;
                }
                LoopStep::Wait => {
                    let returned = calling.next().await;
                    let lost = || ApiError::internal("a call of a tool has no result");
                    self.returned(sink, returned.ok_or_else(lost)?).await;
                }
                LoopStep::Approve(calls) => {
                    for call in &calls {
                        self.ask_caller(sink, call).await;
                    }
                    self.finish(sink, None).await;
                    self.counting.set("awaiting_approval");
                    return Ok(true);
                }
                LoopStep::End(ending, _) => {
                    self.finish(sink, Some(ending)).await;
                    return Ok(true);
                }
                LoopStep::Ask if !self.handed.is_empty() => {
                    self.finish(sink, None).await;
                    return Ok(true);
                }
                LoopStep::Ask => {
                    self.read_results();
                    return Ok(false);
                }
            }
        }
    }

    /// Has the model read the results, in the order in which it has asked for them.
    fn read_results(&mut self) {
        for open in self.told_in_order() {
            let text = open.result.unwrap_or_default();
            let message = json!({"role": "tool", "tool_call_id": open.id, "content": text});
            self.plan.conversation.push(&message);
        }
    }

    /// Takes the calls of the last answer, and keeps what is told of them.
    fn told_in_order(&mut self) -> Vec<OpenCall> {
        let mut calls = std::mem::take(&mut self.open);
        let told = calls.iter_mut().filter_map(|call| call.told.take());
        let room = TOLD_MAX.saturating_sub(self.told.len());
        self.told.extend(told.take(room));
        calls
    }

    /// Asks the model.
    async fn ask(&mut self, sink: &mut Sink) -> Result<RoundEnd, ApiError> {
        let is_last = self.looping.is_last_step();
        let definitions: Vec<Value> = self
            .tools
            .iter()
            .map(|tool| tool.definition.clone())
            .collect();
        let is_streamed = self.steps.is_streamed();
        let body = self
            .plan
            .conversation
            .request(&definitions, is_streamed, is_last);
        self.asked += 1;
        let steps = Rc::clone(&self.steps);
        let number = self.asked;
        let asking: Asking = Box::pin(async move { steps.ask(number, body).await });
        let (response, notes) = asking.await?;
        let mut round = Round::default();
        let read = if is_streamed {
            self.read_stream(&mut round, response, sink).await
        } else {
            self.read_whole(&mut round, response, sink).await
        };
        let end = read.and_then(|()| Ok(self.answer.close(round)?));
        let mut end = end.map_err(|error| match notes.ending() {
            Some(Ending::Timeout) => ApiError::deadline_passed(),
            Some(Ending::Drained) => ApiError::drained(),
            _ => error,
        })?;
        end.tokens.get_or_insert((notes.consumed().tokens, 0));
        Ok(end)
    }

    async fn read_whole(
        &mut self,
        round: &mut Round,
        response: HttpResponse,
        sink: &mut Sink,
    ) -> Result<(), ApiError> {
        let body = whole_body(&self.steps, response).await;
        let body = body.ok_or_else(|| ApiError::upstream("the backend's answer is incomplete"))?;
        let events = self.answer.whole(round, &body)?;
        sink.events(events).await;
        Ok(())
    }

    async fn read_stream(
        &mut self,
        round: &mut Round,
        response: HttpResponse,
        sink: &mut Sink,
    ) -> Result<(), ApiError> {
        let mut body = response.into_body();
        let mut held = BytesMut::new();
        while let Some(part) = next_part(&mut body).await {
            held.extend_from_slice(&part);
            let Some(end) = memchr::memmem::rfind(&held, b"\n\n") else {
                continue;
            };
            let complete = held.split_to(end + 2).freeze();
            let mut events = String::new();
            for line in complete[..].split(|byte| *byte == b'\n') {
                if let Some(data) = line.strip_prefix(b"data:") {
                    events += &self.answer.data(round, data)?;
                }
            }
            sink.events(events).await;
        }
        Ok(())
    }

    /// Takes what the model has answered.
    fn take(&mut self, end: RoundEnd) -> Next {
        let was_last = self.looping.is_last_step();
        if end.calls.is_empty() {
            return Next::End(None);
        }
        let own: Vec<String> = self
            .plan
            .conversation
            .functions()
            .map(str::to_owned)
            .collect();
        let is_own = |call: &RoundCall| own.contains(&call.name);
        let (handed, made): (Vec<_>, Vec<_>) = end.calls.into_iter().partition(is_own);
        // Its dialect has no place for the results of the others, which the model asks for again.
        if !handed.is_empty() && (made.is_empty() || !self.steps.reports_steps()) {
            self.handed = handed;
            return Next::End(None);
        }
        self.handed = handed;
        if was_last {
            return Next::End(Some(Cause::StepsUsed));
        }
        self.plan.conversation.push(&end.message);
        self.plan.conversation.release_choice();
        let number = self.asked;
        let calls = made.into_iter().enumerate().map(|(index, call)| {
            let key = format!("{number}-{index}");
            self.open.push(OpenCall {
                key: key.clone(),
                id: call.id,
                approval: None,
                begun: None,
                told: None,
                result: None,
            });
            ToolCall {
                id: key,
                name: call.name,
                arguments: call.arguments,
            }
        });
        let calls = calls.collect();
        let (input_tokens, output_tokens) = end.tokens.unwrap_or_default();
        let usage = Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        };
        self.looping.answered(calls, usage, self.now());
        Next::Calls
    }

    /// Ends the answer; with the bound that ends it, if one does.
    async fn finish(&mut self, sink: &mut Sink, cause: Option<Cause>) {
        self.told_in_order();
        let calls = std::mem::take(&mut self.handed);
        self.counting.set(match cause {
            Some(cause) => cause.name(),
            None if !calls.is_empty() => "handed_over",
            None => "completed",
        });
        let told = std::mem::take(&mut self.told);
        let mut mcp = Value::Null;
        if !self.steps.reports_steps() && (!told.is_empty() || cause.is_some()) {
            mcp = json!({"calls": told});
            if let Some(cause) = cause {
                mcp["ending"] = cause.name().into();
            }
        }
        // The parts of a whole answer are a stream, too.
        let wants_usage = self.plan.conversation.wants_usage() || !self.steps.is_streamed();
        let events = self.answer.finish(calls, mcp, cause.is_some(), wants_usage);
        sink.events(events).await;
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Returns the body of a whole answer; `None` if it breaks off, or is larger than answers may be.
async fn whole_body(steps: &Steps, response: HttpResponse) -> Option<Bytes> {
    let size_max = steps.state().settings.get().answers_size_max.as_usize();
    let body = to_bytes_limited(response.into_body(), size_max).await;
    body.ok()?.ok()
}

/// Returns the next part of a streamed answer.
async fn next_part(body: &mut BoxBody) -> Option<Bytes> {
    let next = std::future::poll_fn(|task| Pin::new(&mut *body).poll_next(task)).await;
    next?.ok()
}
