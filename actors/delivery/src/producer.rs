//! The actor on the producer's side: a thin shell around the state machine.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Offer, Props, Recipient, Strategy,
    work_pulling::permits::{Permit, Permits},
};
use tokio::sync::oneshot;

use crate::{
    frame::{ToConsumer, ToProducer},
    link::Link,
    sending::Sending,
};

/// The number of messages that may be accepted and not confirmed, as of Pekko's work pulling.
const BUFFER: usize = 1000;
/// How often the first message is sent again, as Pekko's `resend-first-interval`.
const RESEND_FIRST: Duration = Duration::from_secs(1);

/// The reason why a message is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The buffer is full. The message was not accepted, so a retry is safe.
    #[error("the buffer is full")]
    Full,
    /// The producer has stopped. The message may have been handled.
    #[error("the producer has stopped")]
    Stopped,
    /// The message was not confirmed in time; it stays in the buffer and may still be handled.
    #[error("the message was not confirmed in time")]
    TimedOut,
}

/// The sending side of a reliable delivery: Pekko's `ProducerController`. Clones share it.
pub struct Producer<T: Send + Sync + 'static> {
    actor: ActorRef<Controller<T>>,
    permits: Permits,
}

/// A builder of a producer.
#[derive(Clone, Copy, Debug)]
pub struct ProducerBuilder<T> {
    buffer: usize,
    resend_first: Duration,
    session: Option<u64>,
    message: PhantomData<fn() -> T>,
}

/// Shows when a message is confirmed. Dropping it changes nothing for the message.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<()>);

/// Sent to the actor that produces when the consumer has room for a message. No other request is sent until the message of
/// this one was sent. If the request is dropped unused, the next is sent when the consumer confirms a message.
pub struct RequestNext<T: Send + Sync + 'static> {
    producer: Producer<T>,
    /// Taken when the message is sent.
    permit: Option<Permit>,
}

impl<T: Send + Sync + 'static> Message for RequestNext<T> {
    type Result = ();
}

impl<T> Default for ProducerBuilder<T> {
    fn default() -> Self {
        Self {
            buffer: BUFFER,
            resend_first: RESEND_FIRST,
            session: None,
            message: PhantomData,
        }
    }
}

impl<T: Send + Sync + 'static> ProducerBuilder<T> {
    /// Sets the number of messages that may be accepted and not confirmed; at least 1, default 1000.
    #[must_use]
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages.max(1);
        self
    }

    /// Sets how often the first message is sent again until a consumer is heard; default 1 s.
    #[must_use]
    pub fn resend_first(mut self, every: Duration) -> Self {
        self.resend_first = every;
        self
    }

    /// Sets the number of this start; a later start must have a higher one. Default: the microseconds of Unix time.
    #[must_use]
    pub fn session(mut self, session: u64) -> Self {
        self.session = Some(session);
        self
    }

    /// Starts the producer as an actor under `/user`.
    pub fn spawn(self, system: &ActorSystem, name: &str) -> Producer<T> {
        let permits = Permits::new(self.buffer);
        let session = self.session.unwrap_or_else(micros);
        let props = Props::new(move || Controller {
            sending: Sending::new(session),
            link: None,
            source: None,
            is_requested: false,
            resend_first: self.resend_first,
        });
        // Only a link or a recipient, which are the application's, can panic here; the messages must stay.
        let actor = system.spawn(props.supervise(Strategy::resume()), name);
        Producer { actor, permits }
    }
}

/// Returns a number that is higher at each start of a process.
fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    u64::try_from(micros).unwrap_or(u64::MAX / 2)
}

impl<T: Send + Sync + 'static> Producer<T> {
    /// Returns a builder.
    pub fn builder() -> ProducerBuilder<T> {
        ProducerBuilder::default()
    }

    /// Sets the way to the consumer, at the start and after the loss of the last one. Without one nothing is sent.
    pub fn connect(&self, link: impl Link<ToConsumer<T>>) {
        self.actor.inform(Connect(Arc::new(link)));
    }

    /// Hands over what has arrived from the consumer.
    pub fn receive(&self, frame: ToProducer) {
        self.actor.inform(Arrived(frame));
    }

    /// Offers a message without waiting. A full buffer refuses it.
    pub fn offer(&self, message: T) -> Offer {
        match self.permits.take() {
            Some(_) if !self.actor.is_alive() => Offer::Closed,
            Some(permit) => {
                self.send(message, permit, None);
                Offer::Enqueued
            }
            None => Offer::Dropped,
        }
    }

    /// Offers a message; returns a receipt that shows when it is confirmed.
    ///
    /// # Errors
    /// Returns the message if the buffer is full or the producer has stopped.
    pub fn submit(&self, message: T) -> Result<Receipt, (DeliveryError, T)> {
        if !self.actor.is_alive() {
            return Err((DeliveryError::Stopped, message));
        }
        let Some(permit) = self.permits.take() else {
            return Err((DeliveryError::Full, message));
        };
        Ok(self.send_for_receipt(message, permit))
    }

    /// Offers a message and waits, at most for `timeout`, until the consumer has confirmed it: Pekko's
    /// `MessageWithConfirmation`. Dropping the future does not withdraw the message.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    pub async fn ask(&self, message: T, timeout: Duration) -> Result<(), DeliveryError> {
        let receipt = self.submit(message).map_err(|(error, _)| error)?;
        receipt.confirmed_within(timeout).await
    }

    /// Registers who produces; it is sent a [`RequestNext`] whenever the consumer has room. A second one replaces the first.
    pub fn start(&self, source: Recipient<RequestNext<T>>) {
        let producer = self.clone();
        self.actor.inform(Start { source, producer });
    }

    /// Returns the number of messages that are accepted and not confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.permits.taken()
    }

    /// Stops the producer. What is not confirmed is dropped; its receipts show it.
    pub fn stop(&self) {
        self.actor.stop();
    }

    fn send(&self, message: T, permit: Permit, confirmed: Option<oneshot::Sender<()>>) {
        self.actor.inform(Submit {
            message: Arc::new(message),
            held: Held {
                confirmed,
                _permit: permit,
            },
        });
    }

    fn send_for_receipt(&self, message: T, permit: Permit) -> Receipt {
        let (confirmed, receipt) = oneshot::channel();
        self.send(message, permit, Some(confirmed));
        Receipt(receipt)
    }
}

impl Receipt {
    /// Waits until the message is confirmed.
    ///
    /// # Errors
    /// Returns an error if the producer stops first.
    pub async fn confirmed(self) -> Result<(), DeliveryError> {
        self.0.await.map_err(|_| DeliveryError::Stopped)
    }

    /// Waits as [`Receipt::confirmed`] does, at most for `timeout`.
    ///
    /// # Errors
    /// See [`DeliveryError`].
    pub async fn confirmed_within(self, timeout: Duration) -> Result<(), DeliveryError> {
        let confirmed = tokio::time::timeout(timeout, self.confirmed()).await;
        confirmed.unwrap_or(Err(DeliveryError::TimedOut))
    }
}

impl<T: Send + Sync + 'static> RequestNext<T> {
    /// Sends the requested message. If the producer has stopped meanwhile, the receipt shows it.
    pub fn send(mut self, message: T) -> Receipt {
        match self.permit.take() {
            Some(permit) => self.producer.send_for_receipt(message, permit),
            // Only a request that was used has no permit, and to use it is to consume it.
            None => Receipt(oneshot::channel().1),
        }
    }
}

impl<T: Send + Sync + 'static> Drop for RequestNext<T> {
    fn drop(&mut self) {
        if self.permit.take().is_some() && self.producer.actor.is_alive() {
            self.producer.actor.inform(Declined);
        }
    }
}

/// What is kept for a message until it is confirmed.
#[derive(Debug)]
struct Held {
    confirmed: Option<oneshot::Sender<()>>,
    /// Returned when the message ends.
    _permit: Permit,
}

/// Offers a message.
#[derive(Message)]
#[rtype(result = "()")]
struct Submit<T> {
    message: Arc<T>,
    held: Held,
}

/// Sets the link.
#[derive(Message)]
#[rtype(result = "()")]
struct Connect<T>(Arc<dyn Link<ToConsumer<T>>>);

/// Something from the consumer.
#[derive(Message)]
#[rtype(result = "()")]
struct Arrived(ToProducer);

/// Registers who produces.
#[derive(Message)]
#[rtype(result = "()")]
struct Start<T: Send + Sync + 'static> {
    source: Recipient<RequestNext<T>>,
    producer: Producer<T>,
}

/// A request was dropped unused.
#[derive(Message)]
#[rtype(result = "()")]
struct Declined;

/// Sends the first message again.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Tick;

/// Who produces, and the handle that it is given.
type Source<T> = (Recipient<RequestNext<T>>, Producer<T>);

/// The actor.
struct Controller<T: Send + Sync + 'static> {
    sending: Sending<T, Held>,
    link: Option<Arc<dyn Link<ToConsumer<T>>>>,
    source: Option<Source<T>>,
    /// A request is out whose message has not come.
    is_requested: bool,
    resend_first: Duration,
}

impl<T: Send + Sync + 'static> Actor for Controller<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.start_timer_with_fixed_delay("tick", Tick, self.resend_first);
    }
}

impl<T: Send + Sync + 'static> Controller<T> {
    fn send(&self, frames: impl IntoIterator<Item = ToConsumer<T>>) {
        let Some(link) = &self.link else {
            return;
        };
        for frame in frames {
            link.send(frame);
        }
    }

    fn request(&mut self) {
        if self.is_requested || !self.sending.has_demand() {
            return;
        }
        let Some((source, producer)) = &self.source else {
            return;
        };
        // The permit is taken now, so that the message of this request is accepted.
        let Some(permit) = producer.permits.take() else {
            return;
        };
        let producer = producer.clone();
        let request = RequestNext {
            producer,
            permit: Some(permit),
        };
        self.is_requested = source.tell(request).is_enqueued();
    }
}

impl<T: Send + Sync + 'static> Handler<Submit<T>> for Controller<T> {
    type Result = ();

    fn handle(&mut self, submit: Submit<T>, _: &mut Context<Self>) {
        let Submit { message, held } = submit;
        self.is_requested = false;
        let ack = held.confirmed.is_some();
        let frames = self.sending.add(message, ack, held);
        self.send(frames);
        self.request();
    }
}

impl<T: Send + Sync + 'static> Handler<Connect<T>> for Controller<T> {
    type Result = ();

    fn handle(&mut self, Connect(link): Connect<T>, _: &mut Context<Self>) {
        self.link = Some(link);
        self.send(self.sending.repeat_first());
    }
}

impl<T: Send + Sync + 'static> Handler<Arrived> for Controller<T> {
    type Result = ();

    fn handle(&mut self, Arrived(frame): Arrived, _: &mut Context<Self>) {
        let heard = self.sending.hear(&frame);
        self.send(heard.frames);
        for held in heard.confirmed {
            if let Some(confirmed) = held.confirmed {
                // Nobody may be waiting any more.
                confirmed.send(()).ok();
            }
        }
        self.request();
    }
}

impl<T: Send + Sync + 'static> Handler<Start<T>> for Controller<T> {
    type Result = ();

    fn handle(&mut self, start: Start<T>, _: &mut Context<Self>) {
        self.source = Some((start.source, start.producer));
        self.is_requested = false;
        self.request();
    }
}

impl<T: Send + Sync + 'static> Handler<Declined> for Controller<T> {
    type Result = ();

    /// Sends no new request at once. Otherwise a source without messages would be asked without end.
    fn handle(&mut self, _: Declined, _: &mut Context<Self>) {
        self.is_requested = false;
    }
}

impl<T: Send + Sync + 'static> Handler<Tick> for Controller<T> {
    type Result = ();

    fn handle(&mut self, _: Tick, _: &mut Context<Self>) {
        self.send(self.sending.repeat_first());
    }
}

impl<T: Send + Sync + 'static> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self {
            actor: self.actor.clone(),
            permits: self.permits.clone(),
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Producer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.actor.path();
        formatter.debug_tuple("Producer").field(&path).finish()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for RequestNext<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let producer = &self.producer;
        formatter
            .debug_tuple("RequestNext")
            .field(producer)
            .finish()
    }
}
