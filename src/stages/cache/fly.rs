//! Makes the call of a flight, in a task of its own: its caller may leave while others wait.

use actix_web::web::Data;
use bytes::Bytes;
use kebne_lane::{CallGuard, Ending};
use tokio::sync::mpsc;

use crate::{
    answer_cache::{Begun, Lead},
    cache_note::Outcome,
    gateway::{GatewayError, GatewayReply},
    llm::{AnswerUsage, ModelBody, StreamItem},
    stages::{
        Call,
        account::Held,
        cache::{
            keep::{Answered, Keep},
            ride::Flyer,
        },
        guard::{GuardedStream, OutputGuard, Step},
        lane::{describe, lane_headers},
    },
    state::State,
    surface::error::ApiError,
};

/// A call that is made for all who ride.
pub(super) struct Flight {
    lead: Lead,
    call: Call,
    guard: Option<OutputGuard>,
}

/// What is left when the answer is complete.
struct Landed {
    usage: AnswerUsage,
    lane: String,
    model: String,
}

impl Flight {
    /// Starts the call. Its account stays open until its answer is complete.
    pub(super) fn start(lead: Lead, keep: Keep, flyer: &mut Flyer, held: Held) {
        let (gateway, state) = (flyer.state.gateway.clone(), flyer.state.clone());
        let (model, request) = (flyer.model.clone(), flyer.request.clone());
        let options = flyer.options.clone();
        let reply = async move { gateway.call(&model, None, request, options).await };
        let flight = Self {
            lead,
            call: flyer.call.clone(),
            guard: flyer.guard.take(),
        };
        actix_rt::spawn(flight.run(Box::pin(reply), (keep, state), held));
    }

    async fn run(
        mut self,
        reply: impl Future<Output = Result<GatewayReply, GatewayError>>,
        (keep, state): (Keep, Data<State>),
        held: Held,
    ) {
        let left = self.lead.left();
        let landed = tokio::select! {
            biased;
            landed = self.fly(reply) => landed,
            // Dropping the call cancels it.
            () = left => return,
        };
        let landed = match landed {
            Ok(landed) => landed,
            Err(error) => return self.lead.fail(error),
        };
        self.lead.complete();
        drop(held);
        if let Some(parts) = self.lead.parts() {
            let answered = Answered {
                parts,
                usage: landed.usage.known(),
                lane: landed.lane,
                model: landed.model,
            };
            // Whoever asks the same meanwhile rides on this answer.
            keep.answer(&state, answered).await;
        }
    }

    async fn fly(
        &mut self,
        reply: impl Future<Output = Result<GatewayReply, GatewayError>>,
    ) -> Result<Landed, ApiError> {
        let reply = reply.await;
        let reply = reply.map_err(|error| ApiError::from_gateway(&error))?;
        let mut headers = Vec::with_capacity(8);
        describe(&reply, self.call.surface, &mut headers);
        let of_others = lane_headers(&reply);
        let usage = reply.reply.response().usage.clone();
        self.call.notes.set_usage(usage.clone());
        let begun = Begun {
            outcome: Outcome::Miss,
            age: None,
            lane: reply.lane.clone(),
            usage: usage.clone(),
            headers: (headers, of_others),
        };
        let landed = Landed {
            usage,
            lane: reply.lane,
            model: reply.model,
        };
        let is_streamed = self.call.notes.is_streamed();
        let (response, guard) = reply.reply.into_parts();
        let done = match response.body {
            ModelBody::Whole(body) if !is_streamed => self.whole(begun, body).await,
            ModelBody::Stream(items) if is_streamed => {
                self.lead.begun(begun);
                self.stream(items, &guard).await
            }
            _ => Err(ApiError::internal(
                "the backend sent an answer of another form than was requested",
            )),
        };
        match done {
            Ok(()) => {
                guard.finish(Ending::Success);
                Ok(landed)
            }
            Err(error) => {
                guard.finish(error.ending());
                Err(error)
            }
        }
    }

    async fn whole(&mut self, begun: Begun, body: Bytes) -> Result<(), ApiError> {
        let body = match &self.guard {
            Some(guard) => guard.whole(body).await?,
            None => body,
        };
        self.lead.begun(begun);
        self.lead.push(body).await;
        Ok(())
    }

    async fn stream(
        &mut self,
        mut items: mpsc::Receiver<StreamItem>,
        guard: &CallGuard,
    ) -> Result<(), ApiError> {
        let mut guarded = self.guard.take().map(OutputGuard::stream);
        loop {
            let item = items.recv().await;
            let step = match (&item, &mut guarded) {
                (Some(StreamItem::Events(events)), None) => Step::Pass(events.clone(), None),
                (Some(StreamItem::Events(events)), Some(guarded)) => guarded.push(events),
                (Some(StreamItem::End), Some(guarded)) => guarded.end(),
                (_, Some(guarded)) => Step::Pass(guarded.lost(), None),
                (_, None) => Step::Pass(Bytes::new(), None),
            };
            self.step(step, guarded.as_mut()).await?;
            match item {
                Some(StreamItem::Events(_)) => {}
                Some(StreamItem::End) => return Ok(()),
                Some(StreamItem::Lost(failure)) => return Err(ApiError::failed(&failure)),
                None => return Err(ended_by_lane(guard)),
            }
        }
    }

    /// Does what the guards require with a part of the answer.
    async fn step(
        &mut self,
        step: Step,
        guarded: Option<&mut GuardedStream>,
    ) -> Result<(), ApiError> {
        let (events, error) = match step {
            Step::Pass(events, error) => (events, error),
            Step::Check(check) => {
                check.await?;
                guarded.map(GuardedStream::checked).unwrap_or_default()
            }
        };
        self.lead.push(events).await;
        error.map_or(Ok(()), Err)
    }
}

/// Returns the error of a stream whose attempt has ended without an end of the answer.
fn ended_by_lane(guard: &CallGuard) -> ApiError {
    match guard.verdict() {
        Some(Ending::Timeout) => ApiError::deadline_passed(),
        Some(Ending::Panic) => ApiError::attempt_lost(),
        Some(Ending::Drained) => ApiError::drained(),
        _ => ApiError::upstream("the backend's answer is incomplete"),
    }
}
