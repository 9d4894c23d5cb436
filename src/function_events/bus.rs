//! One function as a bus: to publish an event is to have the function answer it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use kebne_event_bus::{
    BusError, Deliveries, EventBus, Later, Message, Outbox, Published, Subscription,
};
use kebne_lane::{CallOptions, Ending};
use kebne_wire::{Endpoint, ModelRequest, PassThrough, about::About};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Counts, letters::DeadLetter};
use crate::{gateway::WeakGateway, unix_time};

/// The longest time of one try: that of a call, and a little more for the lane to say so.
pub(super) const TIME_MAX: Duration = Duration::from_mins(121);
/// The calls that may wait to be made; a relay publishes no more at once.
const CALLS_MAX: usize = 64;
/// The priority of deliveries: callers wait for their answers, events do not.
const PRIORITY: u8 = 3;

/// A function that gets events.
#[derive(Debug)]
pub(super) struct FunctionBus {
    function: String,
    /// The calls that are to be made, on the thread of the gateway's own work.
    calls: mpsc::Sender<Asked>,
    dead: Outbox,
    counts: Arc<Counts>,
    give_up_after: Duration,
    /// The events that have failed, by their ids: since when, and how often. One of each key at most.
    failing: Mutex<HashMap<String, (Instant, u32)>>,
}

/// An event that is to be delivered, and who waits for the result.
#[derive(Debug)]
struct Asked {
    message: Message,
    answer: oneshot::Sender<Result<(), Failed>>,
}

/// Why a try failed.
#[derive(Debug)]
struct Failed {
    reason: String,
    /// `true` if another try would fail again.
    is_final: bool,
}

impl FunctionBus {
    pub(super) fn new(
        function: &str,
        (gateway, dead): (WeakGateway, Outbox),
        counts: Arc<Counts>,
        give_up_after: Duration,
    ) -> Self {
        let (calls, asked) = mpsc::channel(CALLS_MAX);
        actix_rt::spawn(serve(function.to_owned(), gateway, asked));
        Self {
            function: function.to_owned(),
            calls,
            dead,
            counts,
            give_up_after,
            failing: Mutex::default(),
        }
    }

    async fn deliver(&self, message: Message) -> Result<Published, BusError> {
        let id = message.id.clone();
        let Err(failed) = self.call(&message).await else {
            self.forget(&id);
            self.counts.delivered.fetch_add(1, Relaxed);
            return Ok(Published::Stored);
        };
        let (since, tries) = self.note(&id);
        if !failed.is_final && since.elapsed() < self.give_up_after {
            self.counts.failures.fetch_add(1, Relaxed);
            return Err(BusError::Unavailable(failed.reason));
        }
        let letter = DeadLetter {
            function: self.function.clone(),
            reason: failed.reason,
            tries,
            at: unix_time::seconds(),
            event: serde_json::from_slice(&message.payload).unwrap_or_default(),
        };
        let kept = self.dead.keep(letter.message(&message)).await;
        kept.map_err(|error| {
            BusError::Unavailable(format!("it cannot become a dead letter: {error}"))
        })?;
        self.forget(&id);
        self.counts.dead.fetch_add(1, Relaxed);
        tracing::warn!(
            function = self.function,
            event = id,
            reason = letter.reason,
            "an event became a dead letter"
        );
        Ok(Published::Stored)
    }

    /// Has the function called.
    async fn call(&self, message: &Message) -> Result<(), Failed> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            message: message.clone(),
            answer,
        };
        let sent = self.calls.send(asked).await;
        sent.map_err(|_| Failed::for_now("the gateway stops"))?;
        answered
            .await
            .unwrap_or_else(|_| Err(Failed::for_now("the gateway stops")))
    }

    /// Notes a failure; returns since when the event fails, and how often it has.
    fn note(&self, id: &str) -> (Instant, u32) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, tries) = failing
            .entry(id.to_owned())
            .or_insert_with(|| (Instant::now(), 0));
        *tries = tries.saturating_add(1);
        (*since, *tries)
    }

    fn forget(&self, id: &str) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.remove(id);
    }
}

impl Failed {
    fn for_now(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            is_final: false,
        }
    }
}

/// Makes the calls of one function until nobody asks for one any more. A call that nobody waits for is given up.
async fn serve(function: String, gateway: WeakGateway, mut calls: mpsc::Receiver<Asked>) {
    while let Some(Asked {
        message,
        mut answer,
    }) = calls.recv().await
    {
        let (function, gateway) = (function.clone(), gateway.clone());
        actix_rt::spawn(async move {
            tokio::select! {
                () = answer.closed() => {}
                result = Box::pin(call(&function, &gateway, &message)) => {
                    // One who left in the same moment tries again.
                    let _waits = answer.send(result);
                }
            }
        });
    }
}

/// Calls a function.
async fn call(function: &str, gateway: &WeakGateway, message: &Message) -> Result<(), Failed> {
    let gateway = gateway.upgrade();
    let gateway = gateway.ok_or_else(|| Failed::for_now("the gateway stops"))?;
    let called = gateway.function(function);
    let called = called.ok_or_else(|| Failed::for_now("there is no such function"))?;
    let settings = &called.settings;
    let time = settings.timeout.get().max(settings.wake_timeout.get()) * 2;
    let endpoint = Endpoint::PassThrough(PassThrough::Function);
    let id: Arc<str> = message.id.as_str().into();
    let mut request = ModelRequest::new(endpoint, message.payload.clone(), 0..0, id);
    request.about = Some(Arc::new(About::of_event()));
    let options = CallOptions {
        bytes: u64::try_from(request.body.len()).unwrap_or(u64::MAX),
        priority: PRIORITY,
        ..CallOptions::within(time)
    };
    match gateway.call(function, None, request, options).await {
        Ok(reply) => {
            let (_, guard) = reply.reply.into_parts();
            guard.finish(Ending::Success);
            Ok(())
        }
        Err(error) => Err(Failed {
            is_final: error.is_final(),
            reason: error.to_string(),
        }),
    }
}

impl EventBus for FunctionBus {
    fn publish(&self, message: Message) -> Later<'_, Result<Published, BusError>> {
        Box::pin(self.deliver(message))
    }

    fn subscribe(
        &self,
        _subscription: Subscription,
    ) -> Later<'_, Result<Box<dyn Deliveries>, BusError>> {
        let refused = BusError::Refused("a function has no subscribers".to_owned());
        Box::pin(std::future::ready(Err(refused)))
    }
}
